"""Everything that can be done in the window: each with a name, a shortcut and a line that says what it does."""

from collections.abc import Callable, Iterator
from itertools import combinations

from PyQt6.QtCore import QSize, Qt
from PyQt6.QtGui import QAction, QKeySequence
from PyQt6.QtWidgets import QToolButton, QWidget


class Actions:
    """Makes the actions of one window.

    Pages may give the same shortcut to what is alike (Ctrl+Return: the main thing to do here). A shortcut that two
    actions could take at the same time would do nothing: `clashes` finds them.
    """

    def __init__(self) -> None:
        self._actions: dict[str, QAction] = {}
        self._owners: dict[str, QWidget] = {}

    def __iter__(self) -> Iterator[QAction]:
        return iter(self._actions.values())

    def __getitem__(self, name: str) -> QAction:
        return self._actions[name]

    def add(
        self,
        owner: QWidget,
        name: str,
        text: str,
        shortcut: str,
        tip: str,
        do: Callable[[], object] | Callable[[bool], object],
        *,
        checkable: bool = False,
        anywhere: bool = False,
    ) -> QAction:
        """Return a new action of `owner`, under a name such as "run.start".

        Its shortcut works while the owner, or something in it, has the focus; with `anywhere` in the whole window. `do`
        is called without arguments, or with the new state if `checkable`. Raises `ValueError` for a name that is taken
        and for something that is no shortcut.
        """
        keys = QKeySequence(shortcut)
        if name in self._actions or keys.isEmpty():
            raise ValueError(f"action {name!r} with {shortcut!r}: the name is taken, or this is no shortcut")
        action = QAction(text, owner)
        action.setObjectName(name)
        action.setShortcut(keys)
        action.setShortcutContext(
            Qt.ShortcutContext.WindowShortcut if anywhere else Qt.ShortcutContext.WidgetWithChildrenShortcut
        )
        shown = keys.toString(QKeySequence.SequenceFormat.NativeText)
        action.setToolTip(f"{tip} ({shown})")
        action.setStatusTip(tip)
        action.setCheckable(checkable)
        if checkable:
            action.toggled.connect(do)
        else:
            action.triggered.connect(lambda _checked: do())  # type: ignore[call-arg]
        owner.addAction(action)
        self._actions[name] = action
        self._owners[name] = owner
        return action

    def clashes(self) -> list[tuple[str, str]]:
        """Return the names of actions that have the same shortcut in the same place."""
        found = []
        for one, other in combinations(self._actions, 2):
            if self[one].shortcut() == self[other].shortcut():
                anywhere = Qt.ShortcutContext.WindowShortcut in (
                    self[one].shortcutContext(),
                    self[other].shortcutContext(),
                )
                first, second = self._owners[one], self._owners[other]
                if anywhere or first is second or first.isAncestorOf(second) or second.isAncestorOf(first):
                    found.append((one, other))
        return found

    def button(self, action: QAction, parent: QWidget | None = None) -> QToolButton:
        """Return a button for an action: it shows the action's text, and is on and off with it."""
        button = QToolButton(parent)
        button.setDefaultAction(action)
        button.setObjectName(f"button:{action.objectName()}")
        button.setAccessibleName(action.text().replace("&", ""))
        button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextOnly)
        height = round(button.fontMetrics().height() * 1.7)
        button.setMinimumSize(QSize(0, height))
        return button
