//! A process that runs, as the kernel shows it in `/proc`: on Linux only.

use crate::child;
use anyhow::{Context, Result, bail};
use std::{fs, time::Duration};

/// Processor time that a process has taken so far, in seconds: to a hundredth, mostly.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read '{path}'"))?;
    let ticks = cpu_ticks(&text).with_context(|| format!("'{path}' says something else: {text}"))?;
    // SAFETY: asks for a number, and touches nothing.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    Ok(ticks as f64 / per_second.max(1) as f64)
}

/// User and system time, in ticks. The name of the program, in brackets, may have spaces and brackets in it.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    Some(ticks()? + ticks()?)
}

/// Memory that it has, in bytes.
pub fn resident_bytes(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read '{path}'"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    Ok(kib.with_context(|| format!("'{path}' says nothing of VmRSS"))? * 1024)
}

/// Files, sockets and the like that it has open.
pub fn descriptors(pid: u32) -> Result<usize> {
    let path = format!("/proc/{pid}/fd");
    Ok(fs::read_dir(&path).with_context(|| format!("cannot read '{path}'"))?.count())
}

/// Waits until a process works evenly: until in two spans of five seconds it has used the same, but for a tenth of it and a fiftieth
/// of a processor. Says how long that took. `check` fails when the process has ended.
pub fn settle(pid: u32, patience: Duration, mut check: impl FnMut() -> Result<()>) -> Result<Duration> {
    const SPAN: Duration = Duration::from_secs(5);
    let begun = child::now();
    let mut before = None;
    loop {
        check()?;
        let start = (child::now(), cpu_seconds(pid)?);
        child::pause(SPAN);
        check()?;
        let used = (cpu_seconds(pid)? - start.1) / (child::now() - start.0).as_secs_f64();
        if before.is_some_and(|before: f64| (used - before).abs() <= before.max(used) / 10.0 + 0.02) {
            return Ok(child::now() - begun);
        }
        before = Some(used);
        if child::now() - begun > patience {
            bail!("process {pid} does not settle within {patience:?}: {used:.2} processors now");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_whatever_the_program_is_called() {
        let rest = "S 1 2 3 4 5 6 7 8 9 10 120 30 0 0 20 0 5";
        assert_eq!(cpu_ticks(&format!("42 (weir) {rest}")), Some(150));
        assert_eq!(cpu_ticks(&format!("42 (a) b (c)) {rest}")), Some(150));
        assert_eq!(cpu_ticks("42"), None);
    }

    #[test]
    fn this_process_is_seen() {
        if !cfg!(target_os = "linux") {
            return;
        }
        let pid = std::process::id();
        let start = cpu_seconds(pid).unwrap();
        let mut sum = 0_u64;
        while cpu_seconds(pid).unwrap() < start + 0.05 {
            sum = (0..100_000).fold(sum, |sum, n| std::hint::black_box(sum ^ n));
        }
        assert!(resident_bytes(pid).unwrap() > 100_000 && descriptors(pid).unwrap() >= 3);
        assert!(cpu_seconds(0).is_err());
    }
}
