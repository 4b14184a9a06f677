// On a parked item's page: whoever edits a value has chosen it.

"use strict";

document.addEventListener("input", (event) => {
    const cell = event.target.closest(".syncreset-other");
    const other = cell?.querySelector("input[type=radio]");
    if (other && event.target.tagName === "TEXTAREA") {
        other.checked = true;
    }
});
