"""What the GPU tools print, read into series: nvidia-smi in all its forms, rocm-smi, gpustat, dcgmi, the kernel's log."""

from __future__ import annotations

from pathlib import Path

import pytest
from telemetry_readings import read, told

from postmortem.parsers.base import SourceFile

TABLE = """\
Tue Mar  3 10:00:0{n} 2026
+-----------------------------------------------------------------------------+
| NVIDIA-SMI 535.54.03    Driver Version: 535.54.03    CUDA Version: 12.2     |
|-------------------------------+----------------------+----------------------+
| GPU  Name        Persistence-M| Bus-Id        Disp.A | Volatile Uncorr. ECC |
| Fan  Temp  Perf  Pwr:Usage/Cap|         Memory-Usage | GPU-Util  Compute M. |
|===============================+======================+======================|
|   0  NVIDIA A10          On   | 00000000:17:00.0 Off |                    0 |
|  0%   41C    P0    {w}W / 150W |   2048MiB / 23028MiB |     {u}%      Default |
+-------------------------------+----------------------+----------------------+
|   1  NVIDIA A10          On   | 00000000:65:00.0 Off |                  N/A |
|ERR!  ERR!  ERR!    N/A / 150W |    512MiB / 23028MiB |     ERR!     Default |
+-------------------------------+----------------------+----------------------+
"""
QUERY = """\
timestamp, index, name, utilization.gpu [%], memory.used [MiB], power.draw [W], clocks_throttle_reasons.hw_thermal_slowdown
2026/03/03 10:00:00.000, 0, NVIDIA A10, 93 %, 2048 MiB, 120.50 W, Not Active
2026/03/03 10:00:00.001, 1, NVIDIA A10, [N/A], 512 MiB, [Unknown Error], Active
2026/03/03 10:00:05.000, 0, NVIDIA A10, 95 %, 2050 MiB, 121.00 W, Not Active
"""
DMON = """\
# gpu   pwr gtemp mtemp    sm   mem   enc   dec  mclk  pclk
# Idx     W     C     C     %     %     %     %   MHz   MHz
    0    43    35     -    97    40     0     0   877  1290
    1    61    41     -     3     1     0     0   877  1290
"""
REPORT = """\
==============NVSMI LOG==============

Timestamp                                 : Tue Mar  3 10:00:00 2026
Driver Version                            : 535.54.03

GPU 00000000:17:00.0
    Product Name                          : NVIDIA A10
    Clocks Event Reasons
        SW Power Cap                      : Active
    FB Memory Usage
        Total                             : 23028 MiB
        Used                              : 2048 MiB
    Utilization
        Gpu                               : 93 %
    ECC Errors
        Volatile
            SRAM Uncorrectable            : 0
            DRAM Uncorrectable            : 2
    Temperature
        GPU Current Temp                  : 71 C
"""
XML = """\
<?xml version="1.0" ?>
<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v12.dtd">
<nvidia_smi_log>
  <timestamp>Tue Mar  3 10:00:00 2026</timestamp>
  <gpu id="00000000:17:00.0"><fb_memory_usage><total>23028 MiB</total><used>2048 MiB</used></fb_memory_usage>
    <utilization><gpu_util>93 %</gpu_util></utilization><temperature><gpu_temp>71 C</gpu_temp></temperature></gpu>
  <gpu id="00000000:65:00.0"><utilization><gpu_util>N/A</gpu_util></utilization><temperature><gpu_temp>30 C</gpu_temp></temperature></gpu>
</nvidia_smi_log>
"""


def test_table_once_and_repeated(tmp_path: Path) -> None:
    reading = read(tmp_path, "gpu.log", TABLE.format(n=1, w=" 60", u="93") + TABLE.format(n=6, w=" 58", u=" 7"))
    values = told(reading)
    assert reading.format == "nvidia-smi"
    assert values["gpu_util", 0] == [93, 7]
    assert values["gpu_mem_used", 0] == [2048, 2048]
    assert values["gpu_power", 0] == [60, 58]
    assert values["gpu_mem_used", 1] == [512, 512]
    assert ("gpu_util", 1) not in values, "ERR! is not a number"
    assert ("gpu_power", 1) not in values, "N/A is not said"
    assert [event.kind for event in reading.events] == ["hardware", "hardware"], "ERR! is told as an event"
    util = next(block for block in reading.blocks if block.raw_name == "GPU-Util")
    assert util.times is not None
    assert util.times[1] - util.times[0] == 5_000_000


def test_query_csv_against_its_own_table(tmp_path: Path) -> None:
    values = told(read(tmp_path, "gpu.csv", QUERY))
    assert values["gpu_util", 0] == [93, 95]
    assert values["gpu_mem_used", 0] == [2048, 2050]
    assert values["gpu_mem_used", 1] == [512]
    assert values["gpu_power", 0] == [120.5, 121]
    assert ("gpu_util", 1) not in values
    assert values["gpu_throttle_thermal", 1] == [1]
    table = told(read(tmp_path, "gpu.log", TABLE.format(n=1, w="120", u="93")))
    assert table["gpu_util", 0][0] == values["gpu_util", 0][0]
    assert table["gpu_mem_used", 0][0] == values["gpu_mem_used", 0][0]


def test_csv_without_header_is_named_by_its_units(tmp_path: Path) -> None:
    reading = read(
        tmp_path,
        "gpu_log.csv",
        "".join(f"2026/03/03 10:00:{i:02d}.000, {i} %, 1 %, {100 + i} MiB, 9000 MiB, 41, 60.10 W\n" for i in range(5)),
    )
    values = told(reading)
    assert values["gpu_util", None] == [0, 1, 2, 3, 4]
    assert values["gpu_mem_used", None] == [100, 101, 102, 103, 104]
    assert values["gpu_power", None] == [60.1] * 5
    assert "no header" in reading.notes[0]


def test_ragged_rows_are_counted(tmp_path: Path) -> None:
    reading = read(tmp_path, "gpu.csv", QUERY + "2026/03/03 10:00:10.000, 0, NVI\n")
    assert reading.rejected == 1


def test_table_and_csv_in_one_file(tmp_path: Path) -> None:
    values = told(read(tmp_path, "stats.csv", TABLE.format(n=1, w=" 60", u="12") + QUERY))
    assert values["gpu_util", 0] == [12, 93, 95]


def test_dmon(tmp_path: Path) -> None:
    values = told(read(tmp_path, "dmon.log", "> " + DMON.replace("\n    1", "\n>    1")))
    assert values["gpu_util", 0] == [97]
    assert values["gpu_util", 1] == [3]
    assert values["gpu_mem_util", 0] == [40]
    assert ("gpu_mem_temp", 0) not in values


def test_report(tmp_path: Path) -> None:
    values = told(read(tmp_path, "smi.txt", REPORT))
    assert values["gpu_util", 0] == [93]
    assert values["gpu_mem_used", 0] == [2048]
    assert values["gpu_throttle_power", 0] == [1]
    assert values["gpu_ecc_uncorrected", 0] == [0, 2]
    assert values["gpu_temp", 0] == [71]


def test_xml(tmp_path: Path) -> None:
    values = told(read(tmp_path, "smi.xml", XML))
    assert values["gpu_util", 0] == [93]
    assert values["gpu_temp", 1] == [30]
    assert ("gpu_util", 1) not in values


def test_xml_with_entities_is_refused(tmp_path: Path) -> None:
    bomb = '<?xml version="1.0"?><!DOCTYPE nvidia_smi_log [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]><nvidia_smi_log><gpu>&b;</gpu></nvidia_smi_log>'
    reading = read(tmp_path, "smi.xml", bomb)
    assert reading.rows == 0
    assert "entities" in reading.notes[0]


def test_broken_xml_keeps_what_stands_before(tmp_path: Path) -> None:
    reading = read(tmp_path, "smi.xml", XML[: XML.index("</gpu>") + 6])
    assert told(reading)["gpu_util", 0] == [93]
    assert reading.rejected == 1


def test_other_tools(tmp_path: Path) -> None:
    rocm = (
        "===== ROCm System Management Interface =====\n"
        "GPU  Temp   AvgPwr   SCLK     MCLK    Fan     Perf  PwrCap  VRAM%  GPU%\n"
        "0    51.0c  30.1W  1200Mhz  300Mhz  20.0%  auto  92.0W    16%   87%\n"
    )
    assert told(read(tmp_path, "rocm.txt", rocm))["gpu_util", 0] == [87]
    gpustat = "node7  Tue Mar  3 10:00:00 2026  535.54.03\n[0] NVIDIA A10 | 41'C,  93 % | 2048 / 23028 MB | me(2000M)\n"
    assert told(read(tmp_path, "gpustat.txt", gpustat))["gpu_mem_used", 0] == [2048]
    dcgm = "#Entity   GPUTL  MCUTL  POWER\nID                       W\nGPU 0     93     40     120.5\nGPU 1     N/A    1      50.0\n"
    values = told(read(tmp_path, "dcgm.txt", dcgm))
    assert values["gpu_util", 0] == [93]
    assert ("gpu_util", 1) not in values


ROCM_TABLES = [
    # ROCm 6 with model and partitions, with node and ids, ROCm 5, ROCm 1
    "Device  [Model : Revision]    Temp        Power     Partitions      SCLK    MCLK    Fan  Perf  PwrCap  VRAM%  GPU%\n"
    "        Name (20 chars)       (Junction)  (Socket)  (Mem, Compute)\n"
    "1       [0x74a9 : 0x00]       43.0°C      171.0W    NPS1, SPX       140Mhz  900Mhz  0%   auto  750.0W    17%   91%\n"
    "        AMD Instinct\n",
    "Device  Node  IDs              Temp    Power     Partitions          SCLK  MCLK     Fan  Perf  PwrCap       VRAM%  GPU%\n"
    "              (DID,     GUID)  (Edge)  (Socket)  (Mem, Compute, ID)\n"
    "1       2     0x1901,   51154  43.0°C  171.0W    N/A, N/A, 0         None  900Mhz   0%   auto  Unsupported  17%    91%\n",
    "GPU  Temp (DieEdge)  AvgPwr  SCLK    MCLK     Fan  Perf  PwrCap  VRAM%  GPU%\n"
    "1    43.0c           171.0W  300Mhz  900Mhz   0%   auto  290.0W   17%   91%\n",
    " GPU  Temp    AvgPwr   SCLK     MCLK     Fan      Perf    SCLK OD    VRAM%    GPU%\n"
    "  1   43c     171.0W   1400Mhz  900Mhz   0.0%     auto      0%         17%      91%\n",
]


@pytest.mark.parametrize("table", ROCM_TABLES)
def test_rocm_smi_of_every_age(tmp_path: Path, table: str) -> None:
    values = told(read(tmp_path, "rocm.txt", f"===== ROCm System Management Interface =====\n{table}=====\n"))
    wanted = {"gpu_temp": 43, "gpu_power": 171, "gpu_clock_mem": 900, "gpu_mem_allocated_pct": 17, "gpu_util": 91}
    assert {name: values[name, 1] for name in wanted} == {name: [value] for name, value in wanted.items()}


def test_rocm_smi_lists(tmp_path: Path) -> None:
    text = "===== ROCm System Management Interface =====\nGPU[1]\t\t: GPU use (%): 91\nGPU[1]\t\t: VRAM Total Used Memory (B): 2147483648\n"
    values = told(read(tmp_path, "rocm.txt", text + "GPU[1]\t\t: Card series: x\nGPU[0]\t\t: GPU use (%): N/A\n"))
    assert values == {("gpu_util", 1): [91], ("gpu_mem_used", 1): [2048]}


def test_amd_smi(tmp_path: Path) -> None:
    monitor = (
        "GPU  POWER  GPU_TEMP  MEM_TEMP  GFX_UTIL  GFX_CLOCK  VRAM_USED  VRAM_TOTAL\n"
        "  0  181 W     42 °C       N/A      83 %   1613 MHz     283 MB   196300 MB\n"
    )
    values = told(read(tmp_path, "monitor.txt", monitor))
    assert values["gpu_power", 0] == [181] and values["gpu_util", 0] == [83] and values["gpu_mem_used", 0] == [283]
    assert ("gpu_mem_temp", 0) not in values
    metric = "GPU: 3\n    USAGE:\n        GFX_ACTIVITY: 83 %\n    POWER:\n        SOCKET_POWER: 181 W\n        GFX_VOLTAGE: 700 mV\n"
    metric += "    CLOCK:\n        GFX_0:\n            CLK: 140 MHz\n            MAX_CLK: 2482 MHz\n"
    values = told(read(tmp_path, "metric.txt", metric))
    assert values == {("gpu_util", 3): [83], ("gpu_power", 3): [181], ("gpu_clock_sm", 3): [140]}


def test_gpustat_with_fan_time_and_gaps(tmp_path: Path) -> None:
    text = (
        "node7                    Tue Mar  3 10:00:00 2026  535.54.03\n"
        "[0] NVIDIA A10 | 41°C,  30 %,  93 %,  120 / 150 W | 2048 / 23028 MB | me(2000M)\n"
        "[1] NVIDIA A10 | 40'C, ?? % |   512 / 23028 MB |\n"
    )
    reading = read(tmp_path, "gpustat.txt", text)
    values = told(reading)
    assert values["gpu_util", 0] == [93] and values["gpu_power", 0] == [120] and values["gpu_mem_used", 1] == [512]
    assert ("gpu_util", 1) not in values
    assert reading.blocks[0].times is not None and reading.blocks[0].times[0] == 1_772_532_000_000_000


def test_a_round_in_brackets_is_not_the_clock_of_the_kernel(tmp_path: Path) -> None:
    from postmortem.parsers import kernel_log

    def claim(text: str) -> float:
        path = tmp_path / "train.log"
        path.write_text(text)
        return kernel_log.claims(SourceFile(path, path.name, len(text), text.encode()))

    assert claim("".join(f"[{i}]\ttrain-logloss:{0.7 / (i + 1):.5f}\tvalid-logloss:{0.8 / (i + 1):.5f}\n" for i in range(30))) == 0
    assert claim("".join(f"[{i}.50] loss {0.7 / (i + 1):.5f}\n" for i in range(30))) == 0
    assert claim("".join(f"[ {900 + i}.120981] usb 1-1: new device\n" for i in range(30))) > 0


def test_kernel_log(tmp_path: Path) -> None:
    lines = [
        "[  100.000001] usb 1-1: new high-speed USB device",
        "[  101.200000] NVRM: Xid (PCI:0000:17:00): 79, pid=4242, GPU has fallen off the bus.",
        "[  102.000000] NVRM: The NVIDIA GPU 0000:65:00.0",
        "               NVRM: has fallen off the bus and is not responding to commands.",
        "[  103.000000] Out of memory: Killed process 777 (python) total-vm:9000000kB",
        "[  104.000000] EDAC MC0: single-bit ECC enabled",
    ]
    events = read(tmp_path, "dmesg.log", "\n".join(lines) + "\n").events
    assert [(e.kind, e.line) for e in events] == [("hardware", 2), ("hardware", 3), ("scheduler", 5)]
    assert "not responding" in events[1].text, "a sentence over two lines is one event"
    assert events[2].data["what"] == "out-of-memory"
