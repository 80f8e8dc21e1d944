"""What a device is like: taking the measures, showing them, drawing them."""
