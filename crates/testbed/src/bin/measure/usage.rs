//! What a process uses, as the kernel counts it (proc(5)).

use std::{fs, time::Duration};

use anyhow::{Context, Result, bail};

/// The unit in which proc(5) counts processor time, whatever the kernel ticks with.
const TICK: Duration = Duration::from_millis(10);

/// Processor time of a process since its start: all its threads, in user space and in the kernel.
pub fn processor_time(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| path.clone())?;
    // The second field is a name in brackets, which may hold anything; utime and stime are the
    // fourteenth and fifteenth.
    let behind_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields: Vec<u32> =
        behind_name.split_whitespace().skip(11).take(2).flat_map(str::parse).collect();
    match fields[..] {
        [user, system] => Ok(TICK * (user + system)),
        _ => bail!("{path} is not as proc(5) describes it: {stat}"),
    }
}

/// Resident memory of a process in bytes.
pub fn memory(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| path.clone())?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next());
    let kilobytes: u64 = kilobytes.and_then(|text| text.parse().ok()).context(path)?;
    Ok(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_process_uses_processor_time_and_memory() {
        let me = std::process::id();
        let before = processor_time(me).unwrap();
        let start = std::time::Instant::now();
        while start.elapsed() < Duration::from_millis(100) {
            std::hint::spin_loop();
        }
        assert!(processor_time(me).unwrap() > before);
        assert!(memory(me).unwrap() > 100_000);
        assert!(memory(u32::MAX).is_err());
    }
}
