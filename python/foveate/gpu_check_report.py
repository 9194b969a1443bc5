# SPDX-License-Identifier: Apache-2.0
"""The page of `foveate.gpu_check`: what was checked, and everything that was measured or went wrong."""

TITLES = {"parity": "Parity with the cpu", "interop": "Hand-offs", "filters": "Filters of the hardware",
          "vrs": "Shading rates of the hardware", "copies": "Copies", "stages": "Stages", "speed": "Speed"}
STATES = {"ok": "ok", "none": "not there", "fail": "FAILED", "error": "FAILED"}


def cell(value):
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value).replace("|", "\\|").replace("\n", " ")


def table(rows):
    """Markdown of rows by their keys, in the order in which keys first come; a column that is empty is left out."""
    names = [name for name in dict.fromkeys(key for row in rows for key in row)
             if any(row.get(name) not in (None, "") for row in rows)]
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    return lines + ["| " + " | ".join(cell(row.get(name)) for name in names) + " |" for row in rows]


def remark(entry):
    """A section in one line."""
    return (f"{STATES[entry['state']]:>9}  {entry['section']:8} {entry['backend']:7} {entry['seconds']:5.1f} s  "
            f"{entry['note']}")


def parity_rows(rows):
    """What differs or is not there, row by row; of the rest, how often it was the same."""
    same = {}
    for row in rows:
        if row["state"] == "ok":
            same.setdefault(row["case"], []).append(row["image"])
    return ([row for row in rows if row["state"] != "ok"]
            + [{"case": case, "state": "ok", "image": ", ".join(images)} for case, images in same.items()])


def markdown(report):
    machine = report["machine"]
    lines = [f"# Measured: {report['device']}", "", "Written by `make gpu-check`"
             + (" `--quick`: small images and few rounds, no numbers to quote." if report["quick"] else ".")
             + f" {report.get('verdict', '').capitalize()}.", "",
             f"GPU by its driver: {cell(machine['gpu']) or 'none'}. Processor: {machine['processor']}, "
             f"{machine['threads']} threads. {machine['system']}. "
             + ", ".join(f"{name} {version}" for name, version in report["versions"].items()) + ".", "",
             "## Sections", ""]
    lines += table([{"section": entry["section"], "backend": entry["backend"], "device": entry["device"],
                     "state": STATES[entry["state"]], "seconds": f"{entry['seconds']:.1f}", "note": entry["note"]}
                    for entry in report["sections"]] or [{"section": "none"}])
    lines += ["", "## Drivers", ""]
    lines += table([{"way": way["way"], "shows": ", ".join(way["shown"]) or "nothing", "error": way["error"]}
                    for way in report["drivers"]])
    lines += ["", *table([{"backend": c["backend"], "device": c["device"], "driver": c["driver"],
                           "usable": "yes" if c["usable"] else "no", "why not": ", ".join(c["reasons"])}
                          for c in report["candidates"]] or [{"backend": "none"}])]
    for entry in report["sections"]:
        if not entry["rows"]:
            continue
        lines += ["", f"## {TITLES[entry['section']]}: {entry['backend']}, {entry['device']}", ""]
        lines += table(parity_rows(entry["rows"]) if entry["section"] == "parity" else entry["rows"])
        if entry.get("kernels"):
            kernels = [{"kernel": k["kernel"], "windows": k["windows"], "subgroup": k["subgroup_size"]}
                       | k["statistics"] for k in entry["kernels"]]
            lines += ["", *table(kernels)]
    lines += ["", "`ratio`: times ours, of the rounds' own. `gb_s`: what the work must read and write at the least, "
              "over its time; `of_copy`: its share of a copy's."]
    return "\n".join(lines) + "\n"
