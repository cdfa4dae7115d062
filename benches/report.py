"""Tables and plots from what the benches measured: a line is bench, case, subject, metric, value."""

import csv
import pathlib
import statistics
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

FOLDER = pathlib.Path(sys.argv[1])
OURS = "Pulsetail"
PLAIN = "plain server; shared stream"
EACH = "plain server; stream each"
COMMAND = "docker logs -f"


def rows_of(path):
    if not path.exists():
        return []
    with open(path, newline="") as lines:
        return list(csv.reader(lines))


def read():
    """All results; a case that was measured anew replaces the old one."""
    new, kept = rows_of(FOLDER / "new.csv"), rows_of(FOLDER / "results.csv")
    again = {(bench, case) for bench, case, *_ in new}
    rows = [row for row in kept if (row[0], row[1]) not in again] + new
    with open(FOLDER / "results.csv", "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    (FOLDER / "new.csv").unlink(missing_ok=True)
    values = {}
    for _bench, case, subject, metric, value in rows:
        values.setdefault((case, subject, metric), []).append(float(value))
    return {key: statistics.median(all_) for key, all_ in values.items()}


VALUES = read()


def get(case, subject, metric):
    return VALUES.get((case, subject, metric))


def ratio(a, b):
    return None if a is None or not b else a / b


def shown(value, digits=0):
    return "-" if value is None else f"{value:,.{digits}f}"


TABLES = []


def row(*cells):
    # What was not measured is not told.
    if any(cell.startswith("-") for cell in cells[1:2]):
        return
    TABLES.append("| " + " | ".join(cells) + " |")


def head(*cells):
    row(*cells)
    TABLES.append("|" + "---|" * len(cells))


def bars():
    """What has a bar: the figure, the bar, and what stands beside it in the same run."""
    head("what", "measured", "bar", "beside it")
    unit, source = "engine frame to shared unit", "2M lines replayed"
    row(
        "engine frame to shared unit, user CPU",
        f"{shown(get(unit, OURS, 'user ns/line'))} ns/line",
        "150",
        f"bollard alone to its own frames {shown(get(source, 'bollard alone', 'user ns/line'))},"
        f" a parser by hand {shown(get(source, 'parser by hand', 'user ns/line'))}",
    )
    encoded = "2M lines encoded"
    row(
        "encoding",
        f"{shown(get(encoded, 'by hand', 'user ns/line'))} ns/line",
        "",
        f"prost {shown(get(encoded, 'prost', 'user ns/line'))}",
    )
    bulk, kernel = "each further subscriber in bulk", get(encoded, "kernel: write to a socket", "ns/line")
    row(
        "each further subscriber in bulk, user CPU",
        f"{shown(get(bulk, OURS, 'user ns/line'))} ns/line",
        "20",
        f"its place in the ring {shown(get('each further reader of the ring', OURS, 'ns/line'), 2)}",
    )
    row(
        "the same, kernel included, over the kernel's write of the same bytes",
        f"{shown(ratio(get(bulk, OURS, 'ns/line'), kernel), 2)}",
        "1.5",
        f"{shown(get(bulk, OURS, 'ns/line'))} and {shown(kernel)} ns/line",
    )
    for case, title, bar in [
        ("1M lines live; no max-size", "reading live, no `max-size`", ("1.25", "0.4")),
        ("1M lines live; max-size=10m", "reading live, `max-size=10m`", ("", "")),
    ]:
        ours = get(case, OURS, "CPU ns/line for reading")
        for (name, who), limit in zip([("a paced blocking reader", "blocking"), ("plain bollard", "bollard")], bar):
            theirs = get(case, who, "CPU ns/line")
            row(f"{title}, over {name}", shown(ratio(ours, theirs), 2), limit, f"{shown(ours)} and {shown(theirs)} ns/line")
    case = "10 containers of 2000 lines/s; 1 subscriber"
    row(
        "context switches per 1,000 lines, 10 containers of 2,000 lines/s",
        shown(get(case, OURS, "switches/1000 lines")),
        "60",
        f"plain server {shown(get(case, PLAIN, 'switches/1000 lines'))}",
    )
    case = "1 container of 10000 lines/s; 100 subscribers"
    row(
        "100 subscribers at 10,000 lines/s",
        f"{shown(get(case, OURS, '% of a core'), 1)} % of a core",
        "20",
        f"plain server {shown(get(case, PLAIN, '% of a core'), 1)}, which delivers {shown(get(case, PLAIN, '% delivered'))} %",
    )
    row(
        "delay there, p50 and p99",
        f"{shown(get(case, OURS, 'delay p50 ms'), 1)} and {shown(get(case, OURS, 'delay p99 ms'), 1)} ms",
        "p99 25",
        f"plain server {shown(get(case, PLAIN, 'delay p50 ms'), 1)} and {shown(get(case, PLAIN, 'delay p99 ms'), 1)}",
    )
    case = "1 container of 5 lines/s; 100 subscribers"
    row(
        "delay after idle, 100 subscribers, p50 and p99",
        f"{shown(get(case, OURS, 'delay p50 ms'), 1)} and {shown(get(case, OURS, 'delay p99 ms'), 1)} ms",
        "p99 5",
        f"plain server {shown(get(case, PLAIN, 'delay p50 ms'), 1)} and {shown(get(case, PLAIN, 'delay p99 ms'), 1)}",
    )
    case = "real engine; {} at 1000 lines/s"
    one = get(case.format("1 subscriber"), OURS, "dockerd % of a core")
    hundred = get(case.format("100 subscribers"), OURS, "dockerd % of a core")
    row(
        "dockerd's CPU, 100 subscribers over 1",
        shown(ratio(hundred, one), 2),
        "1.05",
        f"{shown(hundred, 1)} and {shown(one, 1)} % of a core",
    )
    memory()


def memory():
    row(
        "idle subscription on a shared connection",
        f"{shown(get('idle subscription on a shared connection', OURS, 'KiB'), 1)} KiB",
        "6",
        f"on its own connection {shown(get('idle subscription on its own connection', OURS, 'KiB'), 1)}",
    )
    real, paced = "100 idle containers (real engine)", "100 idle containers (paced engine)"
    row(
        "100 idle running containers",
        f"{shown(get(real, OURS, 'MiB'), 1)} MiB",
        "15",
        f"with an engine of the bench's own {shown(get(paced, OURS, 'MiB'), 1)}",
    )
    row(
        "the same, CPU",
        f"{shown(get(real, OURS, '% of a core'), 2)} % of a core",
        "0.2",
        f"with an engine of the bench's own {shown(get(paced, OURS, '% of a core'), 2)}",
    )
    row(
        "the same, dockerd's CPU",
        f"{shown(get(real, 'dockerd', '% of a core'), 2)} % of a core",
        "0.5",
        f"without Pulsetail {shown(get(real, 'dockerd alone', '% of a core'), 2)}",
    )
    case = "1000 stalled subscribers"
    row(
        "1,000 subscribers that take nothing: growth in 5 s",
        f"{shown(get(case, OURS, 'MiB of growth'), 1)} MiB",
        "0",
        f"of {shown(get(case, OURS, 'MiB'))} MiB; {shown(get(case, OURS, 'MiB of growth in 60 s'), 1)} in 60 s",
    )
    row(
        "the same: the others' delay p99",
        f"{shown(get(case, OURS, 'others’ delay p99 ms'), 1)} ms",
        "+10 % or +20 ms",
        f"without them {shown(get(case, OURS, 'others’ delay p99 ms without them'), 1)}",
    )
    for case, title in [
        ("history of 1M lines", "history, lines per second of CPU"),
        ("history of 1M lines; contains", "history where every tenth line is chosen"),
        ("history of 1M lines; regex", "history where a pattern chooses half"),
        ("history of 1M lines; gzip", "history compressed: the slowest way"),
    ]:
        cost = get(case, OURS, "CPU ns/line")
        row(title, f"{shown(ratio(1e9, cost))}", "", f"came at {shown(get(case, OURS, 'lines/s'))} lines/s")


def fan():
    """Everything that can serve a real engine's log, beside each other."""
    head(
        "subscribers, at 1,000 lines/s",
        "served by",
        "its CPU",
        "dockerd's CPU",
        "delivered",
        "delay p50",
        "p99",
        "switches per 1,000 lines",
        "connections to dockerd",
    )
    for many in ("1 subscriber", "10 subscribers", "100 subscribers"):
        case = f"real engine; {many} at 1000 lines/s"
        for subject in (OURS, PLAIN, EACH, COMMAND):
            of = lambda metric, digits=0: shown(get(case, subject, metric), digits)  # noqa: E731
            row(
                many.split()[0],
                subject,
                of("% of a core", 1) + " %",
                of("dockerd % of a core", 1) + " %",
                of("% delivered") + " %",
                of("delay p50 ms", 1) + " ms",
                of("delay p99 ms", 1) + " ms",
                of("switches/1000 lines"),
                of("connections to dockerd"),
            )


def plural(many, noun):
    return f"{many} {noun}" + ("" if many == 1 else "s")


def scale():
    """The same work for ten times as many."""
    head("", "1", "10", "100", "1,000")
    for noun, tail in (("subscriber", "at 1000 lines/s"), ("container", "at 10 lines/s")):
        for subject in (OURS, PLAIN):
            for metric, digits, sign in (("% of a core", 1, " %"), ("delay p99 ms", 1, " ms"), ("% delivered", 0, " %")):
                cells = [get(f"{plural(n, noun)} {tail}", subject, metric) for n in (1, 10, 100, 1000)]
                row(f"{noun}s {tail}, {subject}: {metric.replace(' ms', '')}", *(shown(c, digits) + sign for c in cells))


def draw_scale():
    figure, places = plt.subplots(1, 2, figsize=(11, 4.2))
    for place, noun, tail in zip(places, ("subscriber", "container"), ("at 1000 lines/s", "at 10 lines/s")):
        for subject, colour in ((OURS, "tab:blue"), (PLAIN, "tab:red")):
            points = [(n, get(f"{plural(n, noun)} {tail}", subject, "% of a core")) for n in (1, 10, 100, 1000)]
            points = [point for point in points if point[1]]
            place.loglog(*zip(*points), "o-", color=colour, label=subject.split(";")[0]) if points else None
        place.set_xlabel(f"{noun}s ({tail}{' each' if noun == 'container' else ''})")
        place.set_ylabel("CPU, % of a core")
        place.grid(alpha=0.3)
        place.legend()
    figure.tight_layout()
    figure.savefig(FOLDER / "scale.png", dpi=110)


def draw_fan():
    figure, places = plt.subplots(1, 2, figsize=(11, 4.2))
    counts = ("1 subscriber", "10 subscribers", "100 subscribers")
    colours = ("tab:blue", "tab:red", "tab:orange", "tab:gray")
    for at, (subject, colour) in enumerate(zip((OURS, PLAIN, EACH, COMMAND), colours)):
        case = "real engine; {} at 1000 lines/s"
        of = lambda metric: [get(case.format(n), subject, metric) or 0 for n in counts]  # noqa: B023, E731
        at_x = [x + at * 0.2 - 0.3 for x in range(len(counts))]
        served, engine = of("% of a core"), of("dockerd % of a core")
        places[0].bar(at_x, served, 0.18, color=colour, label=subject)
        places[0].bar(at_x, engine, 0.18, bottom=served, color=colour, alpha=0.4)
        places[1].bar(at_x, of("delay p99 ms"), 0.18, color=colour, label=subject)
    for place, title in zip(places, ("CPU, % of a core (pale: dockerd's)", "delay p99, ms")):
        place.set_xticks(range(len(counts)), [count.split()[0] for count in counts])
        place.set_xlabel("subscribers of one container at 1,000 lines/s")
        place.set_ylabel(title)
        place.set_yscale("log")
        place.grid(axis="y", alpha=0.3)
        place.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(FOLDER / "fan_out.png", dpi=110)


def keep(readme):
    """Puts the tables into the README, between their marks."""
    text = readme.read_text()
    before, rest = text.split("<!-- benches -->\n", 1)
    _old, after = rest.split("<!-- /benches -->\n", 1)
    tables = "\n".join(TABLES)
    readme.write_text(f"{before}<!-- benches -->\n\n{tables}\n\n<!-- /benches -->\n{after}")


HAS_SCALE = any(tail in case for case, _, _ in VALUES for tail in ("s at 1000 lines/s", "s at 10 lines/s") if "real" not in case)
for number, table in enumerate((bars, fan, scale) if HAS_SCALE else (bars, fan)):
    TABLES.extend([""] if number else [])
    table()
print("\n".join(TABLES))
keep(pathlib.Path(sys.argv[2]))
if HAS_SCALE:
    draw_scale()
draw_fan()
