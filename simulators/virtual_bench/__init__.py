"""A laboratory bench in software: instruments that speak SCPI over TCP, and the simulated ring that they share."""
