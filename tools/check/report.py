"""gpu_check.json and gpu_check.md: the aims first, then every part, then the tables."""

import json
import os

from .aims import Aims, peak_of

# GB of LitGPT's chat and generate in bf16 on a card of 24 GB, as its users reported them in July
# 2024 (issue 1558 there); of nf4 only the differences were found.
LITGPT = {("phi3", "bf16"): ("9.29", "7.78"), ("tinyllama", "bf16"): ("2.60", "2.30"),
          ("gemma", "bf16"): ("20.58", "18.83"), ("gemma2", "bf16"): ("out of memory", "20.58")}


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]


def aim_lines(report):
    rows = [[line["what"], line["text"], line["aim"], line["verdict"], line["note"]]
            for line in report["aims"]]
    return ["## Aims", "", *table(["what", "measured", "aim", "", ""], rows)]


def part_lines(report):
    rows = []
    for part in report["parts"]:
        counts = ", ".join(str(part[k]) for k in ("passed", "skipped", "failed") if k in part)
        why = str(part.get("why", "")).replace("\n", " ").replace("|", "/")[:300]
        rows.append([part["name"], part.get("state", "running"), part.get("seconds", ""), counts,
                     why])
    return ["## Parts", "",
            *table(["part", "state", "seconds", "tests passed, skipped, failed", "why"], rows)]


def speed_lines(report):
    peak, source = peak_of(report)
    rows = []
    for part in report["parts"]:
        for r in part.get("results", []):
            read = f"{100 * r['of_read']:.0f} %" if r.get("n_gen") and r.get("of_read") else ""
            flops = of_peak = ""
            if r.get("n_prompt") and r.get("avg_ns"):
                per_second = r["flops"] / r["avg_ns"] * 1e9
                flops = f"{per_second / 1e12:.1f}"
                of_peak = f"{100 * per_second / peak:.0f} %" if peak else ""
            copied = r.get("probe", {}).get("read_bytes_per_second") or [0]
            rows.append([part["name"], r.get("test", ""), f"{r.get('median_ts', 0):.1f}", read,
                         f"{sorted(copied)[len(copied) // 2] / 1e9:.0f}" if read else "", flops,
                         of_peak, f"{r.get('peak_bytes', 0) / 2**30:.2f}"])
    said = f"The peak is {peak / 1e12:.1f} Tflop/s, by {source}." if peak else f"No peak: {source}."
    return ["## Speed", "", said, "",
            *table(["what", "test", "tok/s", "bytes, of a copy's", "GB/s copied", "Tflop/s",
                    "of the peak", "peak GiB"], rows)] if rows else []


def peak_lines(report):
    peaks = {(p["graph"], p["weights"], p["verb"]): sum(
        p["memory"][kind] for kind in ("owned", "weights_mapped"))
        for p in report["parts"] if "memory" in p}
    rows = []
    for graph, weights in dict.fromkeys((g, w) for g, w, _ in peaks):
        chat, generate = (peaks.get((graph, weights, verb)) for verb in ("chat", "generate"))
        theirs = LITGPT.get((graph, weights), ("", ""))
        rows.append([graph, weights, *(f"{n / 1e9:.3f}" if n else "" for n in (chat, generate)),
                     "yes" if chat == generate else "no", *theirs])
    return ["## Peaks of chat and generate, GB", "",
            *table(["model", "weights", "chat", "generate", "equal", "LitGPT's chat",
                    "LitGPT's generate"], rows)] if rows else []


def load_lines(report):
    rows = [[part["name"], f"{part['rate']:.2f}",
             f"{part['load_ms'] / 1000:.2f}" if "load_ms" in part else ""]
            for part in report["parts"] if "rate" in part]
    return ["## Loading", "", *table(["what", "GB/s", "seconds"], rows)] if rows else []


def operator_lines(report):
    """Where the time of a test goes: the five operators that take most. At depth: in the JSON."""
    rows = []
    for part in report["parts"]:
        for r in (r for r in part.get("results", []) if not r.get("n_depth")):
            for o in r.get("ops", {}).get("operators", [])[:5]:
                rows.append([part["name"], r["test"], f"{o['op']}: {o['implementation']}",
                             o["calls"], f"{1e6 * o['seconds'] / o['calls']:.1f}",
                             f"{100 * (o['share'] or 0):.0f} %",
                             f"{o['bytes_per_second'] / 1e9:.0f}",
                             f"{o['flops_per_second'] / 1e12:.1f}"])
    return ["## Operators, each waited for", "",
            *table(["what", "test", "operator", "calls", "us", "of all", "GB/s", "Tflop/s"],
                   rows)] if rows else []


def own_tables(report):
    lines = []
    for part in report["parts"]:
        if "table" in part:
            lines += ["## " + part["name"], "", part["table"].rstrip(), ""]
    return lines


def markdown(report):
    facts = [f"- {key}: {value}" for key, value in report["machine"].items()]
    blocks = [["# gpu_check", "", *facts], aim_lines(report), part_lines(report),
              speed_lines(report), peak_lines(report), load_lines(report), own_tables(report),
              operator_lines(report)]
    return "\n".join("\n".join(block) + "\n" for block in blocks if block)


def write(folder, machine, parts, scale):
    report = {"machine": machine, "parts": parts}
    report["aims"] = Aims(report, scale).all()
    text = markdown(report)
    os.makedirs(folder, exist_ok=True)
    for name, content in (("gpu_check.json", json.dumps(report, indent=1)), ("gpu_check.md", text)):
        unfinished = os.path.join(folder, name + ".part")
        with open(unfinished, "w") as file:
            file.write(content)
        os.replace(unfinished, os.path.join(folder, name))
    return text
