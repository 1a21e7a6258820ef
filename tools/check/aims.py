"""The aims of the project beside what was measured."""

import re

# Dense bf16 as NVIDIA's data sheets have it, where nothing better was measured: no libcublasLt and
# no PyTorch on the machine.
DATA_SHEETS = [("H100 PCIe", 756e12), ("H100 NVL", 835e12), ("H100", 989e12), ("H200", 989e12),
               ("A100", 312e12)]

DECODE = {("phi3", "bf16"): 0.85, ("gemma", "bf16"): 0.85, ("tinyllama", "bf16"): 0.75}
DECODE_FORMATS = {"int8": 0.75, "nf4": 0.60}
DEPTH, PREFILL, NF4_PREFILL, LOAD, SAMPLE = 0.80, 0.55, 0.80, 0.80, 0.02


def rows_of(report):
    """Every row of `runtime bench`, by (part's name, test)."""
    return {(part["name"], row["test"]): row for part in report["parts"]
            for row in part.get("results", [])}


def part_of(report, name):
    return next((part for part in report["parts"] if part["name"] == name), {})


def peak_of(report):
    """Operations per second and where the number is from; (0, reason) if it is from nowhere."""
    ours = ""
    for part in report["parts"]:
        for row in part.get("results", []):
            name = row.get("probe", {}).get("bf16", "")
            rates = [rate for rate in row.get("probe", {}).get("bf16_flops_per_second", []) if rate]
            if rates and "cublaslt" in name:
                return max(rates), name
            ours = ours or (name if rates else "")
    limits = part_of(report, "PyTorch: product and pinned copy").get("limits")
    if limits:
        return limits["product_flops"], "PyTorch " + limits["torch"]
    for name, flops in DATA_SHEETS:
        if name.lower() in report["machine"].get("gpu", "").lower():
            return flops, f"the data sheet of {name}"
    return 0, f"no library's product, only {ours or 'none'}"


def speed(row):
    return row.get("median_ts") if row else None


def flops_per_second(row):
    seconds = sorted(row["samples_ns"])[len(row["samples_ns"]) // 2] / 1e9
    return row["flops"] / seconds


def sampler_seconds(row):
    """Of one call, with the wait for it that comes of watching every operator."""
    for operator in (row or {}).get("ops", {}).get("operators", []):
        if operator["op"] == "sample" and operator["step"] == "decode":
            return operator["seconds"] / operator["calls"]
    return None


def table_value(report, name, what):
    """The median in a row of a part's Markdown table."""
    for line in part_of(report, name).get("table", "").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) > 1 and re.match(what, cells[0]):
            return float(cells[1])
    return None


class Aims:
    def __init__(self, report, scale):
        self.report, self.scale = report, scale
        self.rows = rows_of(report)
        self.lines = []

    def row(self, graph, weights, test, depth=0):
        return self.rows.get((f"{graph} {weights}", test + (f" @ d{depth}" if depth else "")))

    def add(self, what, value, aim, below=False, note=""):
        if value is None:
            verdict, text = "not measured", ""
        else:
            verdict = "met" if (value < aim if below else value >= aim) else "missed"
            text = f"{100 * value:.1f} %"
        bound = "below " if below else ""
        self.lines.append({"what": what, "measured": value, "text": text, "verdict": verdict,
                           "aim": f"{bound}{100 * aim:.0f} %", "note": note})

    def decode(self):
        test = f"tg{self.scale.new}"
        for weights in self.scale.formats:
            for graph in self.scale.graphs:
                aim = DECODE.get((graph, weights)) or DECODE_FORMATS.get(weights)
                row = self.row(graph, weights, test) or {}
                if aim:
                    self.add(f"decode, {graph} {weights}, of a copy's bytes", row.get("of_read"),
                             aim)
        for graph in self.scale.graphs:
            row = self.row(graph, "bf16", test, self.scale.depth) or {}
            self.add(f"decode at depth {self.scale.depth}, {graph} bf16, of a copy's bytes",
                     row.get("of_read"), DEPTH)

    def prefill(self):
        test = f"pp{self.scale.prompt}"
        peak, source = peak_of(self.report)
        for graph in self.scale.graphs:
            row = self.row(graph, "bf16", test)
            share = flops_per_second(row) / peak if row and peak else None
            self.add(f"prefill of {self.scale.prompt}, {graph} bf16, of the bf16 peak", share,
                     PREFILL, note=f"{peak / 1e12:.0f} Tflop/s by {source}" if peak else source)
        for weights in ("nf4", "int8"):
            for graph in self.scale.graphs:
                part, whole = (speed(self.row(graph, f, test)) for f in (weights, "bf16"))
                self.add(f"prefill of {self.scale.prompt}, {graph} {weights}, of bf16's",
                         part / whole if part and whole else None, NF4_PREFILL,
                         note="" if weights == "nf4" else "no aim was stated: nf4's")

    def loading(self):
        name = "weights of a checkpoint: "
        rate = part_of(self.report, name + "load, cold").get("rate")
        disk = max((part_of(self.report, name + f"plain read, {n}, cold").get("rate") or 0
                    for n in ("one thread", "8 threads")))
        link = table_value(self.report, "commits and transfers of the device", "upload of the same")
        limits = part_of(self.report, "PyTorch: product and pinned copy").get("limits")
        if limits:
            link = max(link or 0, limits["pinned_upload_bytes_per_second"] / 1e9)
        slower = min(disk, link) if disk and link else None
        self.add("load, of the slower of disk and PCIe", rate / slower if rate and slower else None,
                 LOAD, note=f"{rate:.2f} GB/s; disk {disk:.2f}, PCIe {link:.2f}"
                 if rate and slower else "")

    def sampler(self):
        graph = "gemma" if "gemma" in self.scale.graphs else self.scale.graphs[0]
        test = f"tg{self.scale.new}"
        greedy = self.row(graph, "bf16", test)
        drawn = self.rows.get((f"{graph} bf16, top-k 40, top-p 0.95", test))
        for how, row in (("greedy", greedy), ("top-k 40, top-p 0.95", drawn)):
            seconds = sampler_seconds(row)
            # A step is what it takes unwatched.
            self.add(f"sample, {graph}'s vocabulary, {how}, of a decode step",
                     seconds * speed(row) if seconds else None, SAMPLE, below=True,
                     note=f"{1e6 * seconds:.0f} us of {1e3 / speed(row):.2f} ms" if seconds else "")

    def all(self):
        self.decode()
        self.prefill()
        self.loading()
        self.sampler()
        return self.lines
