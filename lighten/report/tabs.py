"""Panels of which a script shows one at a time; without it, and in print, all of them."""

from __future__ import annotations

from collections.abc import Mapping

from lighten.report.markup import Markup, element


def tabs(group: str, name: str, panels: Mapping[str, tuple[str, Markup]]) -> Markup:
    """The panels, key → (title, content), under a row of tabs; `name` is what the row is called.

    The row is hidden until the script has made it work; each panel's own title is hidden then.
    """
    buttons, shown = [], []
    for key, (title, content) in panels.items():
        tab, panel = f"tab-{group}-{key}", f"panel-{group}-{key}"
        attributes = {"role": "tab", "type": "button", "id": tab, "aria_controls": panel}
        buttons.append(element("button", title, data_tab=key, **attributes))
        head = element("h3", title, class_="alone")
        about = {"id": panel, "aria_labelledby": tab, "data_panel": key}
        shown.append(element("div", head, content, role="tabpanel", **about))
    row = element("div", *buttons, class_="tabs", role="tablist", aria_label=name, hidden=True)
    return element("div", row, *shown, class_="tabbed")
