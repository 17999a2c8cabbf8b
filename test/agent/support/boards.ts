/** Boards as the daemon sees them: the few files of /sys and /proc that tell energy and heat, with the names and units of their drivers. */
export interface Board {
  files: Record<string, string | number>;
  /** Output of `vcgencmd pmic_read_adc`, where there is one. */
  pmic?: string;
  /** Meters as `source scope`, best first among equals; what the energy of an inference is taken from; thermal zones. */
  meters: string[];
  best: string;
  zones: string[];
}

const zone = (i: number, type: string, millidegrees: number): Record<string, string | number> =>
  ({ [`sys/class/thermal/thermal_zone${i}/type`]: type, [`sys/class/thermal/thermal_zone${i}/temp`]: millidegrees });
const rail = (chip: number, channel: number, label: string | null, [millivolts, milliamperes]: [number, number]): Record<string, string | number> => ({
  ...(label === null ? {} : { [`sys/class/hwmon/hwmon${chip}/in${channel}_label`]: label }),
  [`sys/class/hwmon/hwmon${chip}/in${channel}_input`]: millivolts, [`sys/class/hwmon/hwmon${chip}/curr${channel}_input`]: milliamperes,
});
const counter = (name: string, label: string, microjoules: number): Record<string, string | number> => ({
  [`sys/class/powercap/${name}/name`]: label, [`sys/class/powercap/${name}/energy_uj`]: microjoules, [`sys/class/powercap/${name}/max_energy_range_uj`]: 262_143_328_850,
});

export const boards: Record<string, Board> = {
  'Jetson Orin Nano': {
    files: {
      'proc/device-tree/model': 'NVIDIA Jetson Orin Nano Developer Kit\0', 'sys/class/hwmon/hwmon1/name': 'ina3221',
      ...rail(1, 1, 'VDD_IN', [5000, 1200]), ...rail(1, 2, 'VDD_CPU_GPU_CV', [5000, 400]), ...rail(1, 3, 'VDD_SOC', [5000, 300]),
      // Of the sum of the shunts there is no current.
      'sys/class/hwmon/hwmon1/in7_label': 'sum of shunt voltages', 'sys/class/hwmon/hwmon1/in7_input': 12,
      ...zone(0, 'cpu-thermal', 48_000), ...zone(1, 'gpu-thermal', 47_500), ...zone(2, 'tj-thermal', 49_000),
    },
    meters: ['ina3221 VDD_IN', 'ina3221 VDD_CPU_GPU_CV', 'ina3221 VDD_SOC'], best: 'ina3221 VDD_IN', zones: ['cpu-thermal.0', 'gpu-thermal.1', 'tj-thermal.2'],
  },
  'Raspberry Pi 4': {
    files: { 'proc/device-tree/model': 'Raspberry Pi 4 Model B Rev 1.4\0', 'sys/class/hwmon/hwmon0/name': 'cpu_thermal', 'sys/class/hwmon/hwmon0/temp1_input': 51_000, 'sys/class/hwmon/hwmon1/name': 'rpi_volt', 'sys/class/hwmon/hwmon1/in0_lcrit_alarm': 0, ...zone(0, 'cpu-thermal', 51_121) },
    meters: ['cpu_model process'], best: 'cpu_model process', zones: ['cpu-thermal.0'],
  },
  'Raspberry Pi 5': {
    files: { 'proc/device-tree/model': 'Raspberry Pi 5 Model B Rev 1.0\0', 'sys/class/hwmon/hwmon2/name': 'rp1_adc', 'sys/class/hwmon/hwmon2/in1_input': 1480, ...zone(0, 'cpu-thermal', 55_450) },
    pmic: '     VDD_CORE_A current(7)=2.00000000A\n     VDD_CORE_V volt(15)=0.80000000V\n',
    meters: ['rpi5_pmic board'], best: 'rpi5_pmic board', zones: ['cpu-thermal.0'],
  },
  'RK3588 with an INA226': {
    files: { 'proc/device-tree/model': 'Radxa ROCK 5B\0', 'sys/class/hwmon/hwmon8/name': 'ina226', ...rail(8, 1, null, [12_000, 350]), ...zone(0, 'soc-thermal', 44_000), ...zone(1, 'bigcore0-thermal', 45_000), ...zone(3, 'littlecore-thermal', 44_500) },
    meters: ['ina226 hwmon8.1'], best: 'ina226 hwmon8.1', zones: ['soc-thermal.0', 'bigcore0-thermal.1', 'littlecore-thermal.3'],
  },
  N100: {
    files: { 'proc/cpuinfo': 'model name\t: Intel(R) N100', ...counter('intel-rapl:0', 'package-0', 5_000_000), ...counter('intel-rapl:0:0', 'core', 2_000_000), ...counter('intel-rapl:0:1', 'uncore', 100_000), ...zone(0, 'x86_pkg_temp', 43_000), ...zone(1, 'acpitz', 27_800) },
    meters: ['rapl package-0', 'rapl core', 'rapl uncore'], best: 'rapl package-0', zones: ['x86_pkg_temp.0', 'acpitz.1'],
  },
  'a bare virtual machine': { files: { 'proc/cpuinfo': 'model name\t: Intel Xeon Processor (Cascadelake)' }, meters: ['cpu_model process'], best: 'cpu_model process', zones: [] },
};
