"""Reports of GPU tools inside other logs, behind colours and stamps, and in forms that leave their numbers to be told apart."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from telemetry_readings import read, told

from postmortem import parsers
from postmortem.model import Reading
from postmortem.parsers import _beside
from postmortem.parsers.base import Request, SourceFile

TABLE = """\
Tue Mar  3 10:0{minute}:00 2026
+---------------------------------------------------------------------------------------+
| NVIDIA-SMI 535.54.03              Driver Version: 535.54.03    CUDA Version: 12.2     |
|-----------------------------------------+----------------------+----------------------+
| GPU  Name                 Persistence-M | Bus-Id        Disp.A | Volatile Uncorr. ECC |
| Fan  Temp   Perf          Pwr:Usage/Cap |         Memory-Usage | GPU-Util  Compute M. |
|=========================================+======================+======================|
|   0  NVIDIA A10                     Off | 00000000:17:00.0 Off |                    0 |
|  0%   41C    P0              60W / 150W |   2048MiB / 23028MiB |     9{minute}%      Default |
+-----------------------------------------+----------------------+----------------------+

+---------------------------------------------------------------------------------------+
| Processes:                                                                            |
|  GPU   GI   CI        PID   Type   Process name                            GPU Memory |
|=======================================================================================|
|    0   N/A  N/A      3012      C   python                                     2040MiB |
+---------------------------------------------------------------------------------------+
"""
REPORT = """\
==============NVSMI LOG==============

Timestamp                                 : Tue Mar  3 10:00:00 2026
Driver Version                            : 535.54.03

GPU 00000000:17:00.0
    Utilization
        Gpu                               : 93 %
    ECC Errors
        Volatile
            SRAM Uncorrectable Parity     : 1
            Double Bit
                Total                     : 2
    Temperature
        GPU Current Temp                  : 71 C
"""
TOPOLOGY = "\tGPU0\tGPU1\tCPU Affinity\nGPU0\t X \tNV4\t0-31\nGPU1\tNV4\t X \t0-31\n\nLegend:\n\n  X    = Self\n"
GPUSTAT = "node7  Tue Mar  3 10:00:00 2026  535.54.03\n[0] NVIDIA A10 | 41'C,  93 % | 2048 / 23028 MB | me(2000M)\n"
ROCM = (
    "===== ROCm System Management Interface =====\n"
    "GPU  Temp   AvgPwr   SCLK     MCLK    Fan     Perf  PwrCap  VRAM%  GPU%\n"
    "0    51.0c  30.1W  1200Mhz  300Mhz  20.0%  auto  92.0W    16%   87%\n"
)
TRAINING = "".join(f"step {10 * i} loss {3 / i:.4f} lr 0.001\n" for i in range(1, 9))
ERROR = (
    'Traceback (most recent call last):\n  File "train.py", line 7, in main\n    loss.backward()\n'
    "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.\n"
)


@pytest.mark.parametrize(
    ("report", "metric"),
    [
        (TABLE.format(minute=3), "gpu_util"),
        (REPORT, "gpu_temp"),
        (GPUSTAT, "gpu_util"),
        (ROCM, "gpu_util"),
        (TOPOLOGY, ""),
    ],
    ids=["table", "-q", "gpustat", "rocm-smi", "topo -m"],
)
@pytest.mark.parametrize(
    "log", [TRAINING, f"loading\n{TRAINING}{ERROR}", f"start\n{ERROR}"], ids=["long", "with an error", "an error alone"]
)
def test_a_job_that_calls_the_tool_first_keeps_its_own_log(tmp_path: Path, report: str, metric: str, log: str) -> None:
    reading = read(tmp_path, "slurm-1.out", report + log)
    values = told(reading)
    assert reading.format == "text"
    assert len(values.get(("loss", None), [])) == log.count("loss ")
    assert ("exception" in {event.kind for event in reading.events}) == (ERROR in log)
    if metric:
        assert len(values[metric, 0]) == 1
    loss = next((block for block in reading.blocks if block.raw_name == "loss"), None)
    if loss is not None:
        first = (report + log).split("\n").index(TRAINING.split("\n")[0]) + 1
        assert loss.lines is not None and loss.lines[0] == first, "the lines are those of the whole file"


def test_tables_between_epochs_and_a_table_of_the_training(tmp_path: Path) -> None:
    own = "+-------+------------+\n| epoch | train_loss |\n+-------+------------+\n|   1   |   2.3021   |\n|   2   |   1.8803   |\n|   3   |   1.4402   |\n"
    values = told(read(tmp_path, "run.log", TABLE.format(minute=1) + "\n" + own + TABLE.format(minute=2)))
    assert values["gpu_util", 0] == [91, 92]
    assert [value for (metric, _), one in values.items() if "loss" in metric for value in one] == [2.3021, 1.8803, 1.4402]


def test_reports_in_colours_behind_stamps_and_drawn_with_lines(tmp_path: Path) -> None:
    coloured = (
        "\x1b[1mnode7\x1b(B\x1b[m  Tue Mar  3 10:00:00 2026\n\x1b[36m[0]\x1b(B\x1b[m \x1b[34mA10\x1b(B\x1b[m |\x1b[31m 41'C\x1b(B\x1b[m, "
        "\x1b[32m 93 %\x1b(B\x1b[m | \x1b[33m 2048\x1b(B\x1b[m / 23028 MB |\n"
    )
    assert told(read(tmp_path, "gpustat.txt", coloured))["gpu_util", 0] == [93]
    stamped = "".join(f"2026-03-03T10:00:00.123456789Z {line}\n" for line in TABLE.format(minute=3).splitlines())
    assert told(read(tmp_path, "pod.log", stamped))["gpu_mem_used", 0] == [2048]
    cleared = "".join(f"\x1b[H\x1b[2J{TABLE.format(minute=i)}" for i in (1, 2)).replace("\n", "\r\n")
    assert told(read(tmp_path, "watch.log", cleared))["gpu_util", 0] == [91, 92]
    nvitop = (
        "╒══════════════════════════════╕\n│ NVITOP 1.3.2   Driver Version: 535.54.03   CUDA Driver Version: 12.2 │\n"
        "╞══════════════════════════════╡\n│   0  A100-SXM4-80GB      On   │ 00000000:01:00.0 Off │                    0 │\n"
        "│ N/A   52C    P0   287W / 400W │  61.25GiB / 80.00GiB │     98%      Default │\n╘══════════════════════════════╛\n"
    )
    values = told(read(tmp_path, "nvitop.txt", nvitop))
    assert values["gpu_util", 0] == [98] and values["gpu_mem_used", 0] == [61.25 * 1024]


def test_a_report_that_powershell_sent_to_a_file(tmp_path: Path) -> None:
    path = tmp_path / "smi.txt"
    path.write_bytes(b"\xff\xfe" + TABLE.format(minute=3).replace("\n", "\r\n").encode("utf-16-le"))
    data = path.read_bytes()
    source = SourceFile(path, path.name, len(data), data)
    parser = parsers.claim(source)
    assert parser is not None
    reading = parser.read(source, Request())
    assert reading.format == "nvidia-smi" and told(reading)["gpu_util", 0] == [93]
    util = next(block for block in reading.blocks if block.raw_name == "GPU-Util")
    assert util.lines is not None and util.lines[0] == 9


def test_repeated_reports_count_their_gpus_anew(tmp_path: Path) -> None:
    values = told(read(tmp_path, "q.log", REPORT * 3))
    assert values["gpu_util", 0] == [93, 93, 93] and ("gpu_util", 1) not in values
    assert values["gpu_ecc_uncorrected", 0] == [1, 2] * 3
    document = (
        '<?xml version="1.0" ?>\n<nvidia_smi_log>\n<gpu id="0"><utilization><gpu_util>{} %</gpu_util></utilization>\n<ecc_errors><volatile>'
    )
    document += "<sram_uncorrectable_secded>2</sram_uncorrectable_secded></volatile></ecc_errors></gpu>\n</nvidia_smi_log>\n"
    reading = read(tmp_path, "smi.xml", document.format(50) + document.format(60))
    assert told(reading)["gpu_util", 0] == [50, 60] and told(reading)["gpu_ecc_uncorrected", 0] == [2, 2]
    util = next(block for block in reading.blocks if block.raw_name == "utilization gpu_util")
    assert util.lines is not None and list(util.lines) == [3, 8]


def test_csv_of_several_cards_without_their_numbers(tmp_path: Path) -> None:
    rows = "".join(
        f"2026/03/03 10:00:0{i}.000, NVIDIA A10, 00000000:{bus}:00.0, 535.54.03, P0, {util + i} %, {used} MiB\n"
        for i in range(3)
        for bus, util, used in (("17", 90, 2000), ("65", 3, 500))
    )
    values = told(
        read(tmp_path, "gpu.csv", f"timestamp, name, pci.bus_id, driver_version, pstate, utilization.gpu [%], memory.used [MiB]\n{rows}")
    )
    assert values["gpu_util", 0] == [90, 91, 92] and values["gpu_mem_used", 1] == [500] * 3


def test_the_second_memory_of_a_csv_without_header(tmp_path: Path) -> None:
    def memory(second: list[int]) -> dict[tuple[str, int | None], list[float]]:
        rows = "".join(f"2026/03/03 10:00:0{i}.000, 9{i} %, {100 * i} MiB, {mib} MiB\n" for i, mib in enumerate(second))
        return told(read(tmp_path, "gpu_log.csv", rows))

    assert memory([9000] * 4)["gpu_mem_total", None] == [9000] * 4
    assert memory([9000, 8900, 8800, 8700])["gpu_mem_free", None] == [9000, 8900, 8800, 8700]
    assert not {"gpu_mem_total", "gpu_mem_free"} & {metric for metric, _ in memory([9000, 10, 8800, 70])}
    assert not {"gpu_mem_total", "gpu_mem_free"} & {metric for metric, _ in memory([200] * 4)}, "less than is used cannot be the total"


def test_limits_that_do_not_hold_are_not_the_limit(tmp_path: Path) -> None:
    values = told(
        read(tmp_path, "gpu.csv", "name, utilization.gpu [%], power.limit [W], power.default_limit [W]\nNVIDIA A10, 93, 140.0, 150.0\n")
    )
    assert values["gpu_power_limit", None] == [140]


def test_dmon_with_commas_and_of_old_drivers(tmp_path: Path) -> None:
    values = told(
        read(tmp_path, "dmon.csv", "#gpu, pwr, gtemp, mtemp, sm, mem\n#Idx, W, C, C, %, %\n0, 231, 58, -, 91, 40\n0, 228, 58, -, 89, 39\n")
    )
    assert values["gpu_util", 0] == [91, 89] and values["gpu_power", 0] == [231, 228]
    values = told(
        read(tmp_path, "dmon.txt", "# gpu   pwr  temp    sm   mem\n# Idx     W     C     %     %\n    1   111    83    25     7\n")
    )
    assert values["gpu_temp", 1] == [83]


def test_tables_whose_cells_fill_their_columns(tmp_path: Path) -> None:
    rocm = (
        "===== ROCm System Management Interface =====\n"
        "Device  Node  Temp    Power     SCLK    MCLK    Fan  Perf  VRAM%  GPU%\n"
        "0       2     71.0°C  702.0W    1998Mhz 1300Mhz 0%   auto  81%    100%\n"
    )
    values = told(read(tmp_path, "rocm.txt", rocm))
    assert values["gpu_util", 0] == [100] and values["gpu_clock_mem", 0] == [1300]
    amd = "GPU  XCP  POWER   GPU_T   GFX%     VRAM_USAGE\n  0    0  702 W   71 °C  100 %  150.5/192.0 GB\n"
    values = told(read(tmp_path, "amd.txt", amd))
    assert values["gpu_mem_used", 0] == [150.5 * 1024] and values["gpu_mem_total", 0] == [192 * 1024]
    csv = "device,GPU use (%),Average Graphics Package Power (W)\ncard0,97,311.0\ncard1,0,89.0\n"
    assert told(read(tmp_path, "rocm.csv", csv))["gpu_power", 1] == [89]


def test_a_diagnostic_tells_which_card_failed(tmp_path: Path) -> None:
    table = (
        "| Diagnostic                | Result                 |\n+===========================+========================+\n"
        "|-----  Deployment  --------+------------------------|\n| Persistence Mode          | Fail                   |\n"
        "+-----  Hardware  ----------+------------------------+\n| memory                    | Fail                   |\n"
        "|                           | GPU0: Pass             |\n|                           | GPU1: Fail             |\n"
    )
    events = read(tmp_path, "diag.txt", table).events
    assert [(event.line, event.text) for event in events] == [(6, "memory | Fail"), (8, "memory | GPU1: Fail")]


JSON = {
    "gpustat.json": {
        "query_time": "2026-03-03T10:00:00",
        "gpus": [{"index": 0, "utilization.gpu": 9, "power.draw": None}, {"index": 1, "utilization.gpu": 93, "power.draw": 287}],
    },
    "rocm.json": {"card0": {"GPU use (%)": "9"}, "card1": {"GPU use (%)": "93", "Average Graphics Package Power (W)": "287.0"}, "system": {}},
    "nvtop.json": [{"device_name": "a", "gpu_util": "9%"}, {"device_name": "b", "gpu_util": "93%", "power_draw": "287W"}],
    "amd.json": [
        {"gpu": 0, "usage": {"gfx_activity": {"value": 9, "unit": "%"}}},
        {"gpu": 1, "usage": {"gfx_activity": {"value": 93, "unit": "%"}}, "power": {"socket_power": {"value": 287, "unit": "W"}}},
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(JSON))
def test_gpus_as_json(tmp_path: Path, name: str) -> None:
    text = json.dumps(JSON[name], indent=2) + "\n"
    reading = read(tmp_path, name, text * 2)
    values = told(reading)
    assert reading.format == "gpu-json"
    assert values["gpu_util", 0] == [9, 9] and values["gpu_util", 1] == [93, 93] and values["gpu_power", 1] == [287, 287]
    second = next(block for block in reading.blocks if block.device == 1)
    assert second.lines is not None and 1 < second.lines[0] < second.lines[1] <= 2 * text.count("\n")


@pytest.mark.parametrize("document", [{"gpus": 2, "lr": 0.1}, [{"gpu": 0, "lr": 0.1}], {"card0": {"name": "x"}}, [{"device_name": "a"}]])
def test_settings_that_name_gpus_are_no_report(tmp_path: Path, document: object) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(document))
    data = path.read_bytes()
    claimed = parsers.claim(SourceFile(path, path.name, len(data), data))
    assert claimed is None or claimed.NAME != "gpu-json"


def test_system_metrics_of_a_tracker_know_their_card(tmp_path: Path) -> None:
    rows = "".join(
        f'{{"system.gpu.0.gpu": {90 + i}.0, "system.gpu.1.temp": 4{i}.0, "system.proc.memory.rssMB": 4011.5, "_runtime": {30 * i}}}\n'
        for i in range(3)
    )
    values = told(read(tmp_path, "wandb-events.jsonl", rows))
    assert values["gpu_util", 0] == [90, 91, 92] and values["gpu_temp", 1] == [40, 41, 42] and values["host_mem", None] == [4011.5] * 3
    csv = '"Relative Time (Process)","fox-1 - system/gpu.1.gpu","fox-1 - system/gpu.1.gpu__MAX"\n' + "".join(
        f'"{i}.5","{i}","9"\n' for i in range(4)
    )
    assert told(read(tmp_path, "export.csv", csv))["gpu_util", 1] == [0, 1, 2, 3]


def test_a_bug_report_holds_a_report_of_the_cards(tmp_path: Path) -> None:
    text = (
        "Start of NVIDIA bug report log file.  Please include this file\n\n/usr/bin/nvidia-smi --query\n\n"
        + REPORT
        + "\n____\n    Gpu : 1 %\n"
    )
    reading = read(tmp_path, "nvidia-bug-report.log", text)
    assert reading.format == "kernel-log" and told(reading)["gpu_temp", 0] == [71] and told(reading)["gpu_util", 0] == [93]


@pytest.mark.parametrize(
    "stamp",
    [
        "[Tue Mar  3 10:00:00 2026]",
        "2026-03-03T10:00:00+0100 node7 kernel:",
        "3月 03 10:00:00 node7 kernel:",
        "mars 03 10:00:00 node7 kernel:",
    ],
)
def test_dates_of_the_kernel_in_other_languages(tmp_path: Path, stamp: str) -> None:
    text = f"{stamp} usb 1-1: new device\n{stamp} NVRM: Xid (PCI:0000:17:00): 79, pid=4242, GPU has fallen off the bus.\n{stamp} usb 1-1: gone\n"
    reading = read(tmp_path, "dmesg.txt", text)
    assert reading.format == "kernel-log" and [event.line for event in reading.events] == [2]


# ---------------------------------------------------------------------- long ones


def read_whole(folder: Path, text: str) -> Reading:
    path = folder / "gpu.log"
    path.write_text(text)
    return parsers.read([SourceFile(path, path.name, len(text), text.encode()[:65536])], Request())[0]


def test_a_long_file_of_nothing_but_reports_is_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_beside, "MOST", 4_000)
    reading = read_whole(tmp_path, "".join(TABLE.format(minute=minute) for minute in range(9)))
    temperatures = [block for block in reading.blocks if "temp" in block.raw_name.lower()]
    assert [len(block.values) for block in temperatures] == [9] and not reading.notes


def test_reports_are_looked_for_in_the_beginning_of_a_long_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_beside, "MOST", 4_000)
    reading = read_whole(tmp_path, TABLE.format(minute=0) + TRAINING * 40 + TABLE.format(minute=1))
    assert any("looked for in its beginning only" in note for note in reading.notes)
    assert sum(len(block.values) for block in reading.blocks if block.raw_name == "loss") == 8 * 40
