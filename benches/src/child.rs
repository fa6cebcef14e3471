//! A whole process, measured: wall time from before it is made to after it is gone, and what the kernel says it used.
//!
//! Invariant: the peak memory of a child can be no less than what this process held when it made the child, so this process
//! stays small: whatever needs memory is a child itself.

use anyhow::{Context, Result, bail};
use std::{
    io::Read,
    process::{Command, Stdio},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// What a process used.
#[derive(Clone, Debug)]
pub struct Usage {
    /// From start to exit.
    pub wall: Duration,
    /// User and system time of all its threads.
    pub cpu: Duration,
    /// Largest resident set, in bytes.
    pub peak_bytes: u64,
}

/// Runs a command to its end: what it used, and what it wrote to standard output. Standard error is passed on.
///
/// # Errors
/// When it cannot be started, or does not end with exit code 0.
pub fn measure(command: &mut Command) -> Result<(Usage, String)> {
    let shown = format!("{command:?}");
    let start = now();
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start {shown}"))?;
    let mut output = String::new();
    let read = match child.stdout.take() {
        Some(mut stdout) => stdout.read_to_string(&mut output).map(drop),
        None => Ok(()),
    };
    let (status, used) = wait(child.id()).with_context(|| format!("waiting for {shown}"))?;
    let wall = now() - start;
    read.with_context(|| format!("reading what {shown} writes"))?;
    if !libc::WIFEXITED(status) || libc::WEXITSTATUS(status) != 0 {
        let how = if libc::WIFEXITED(status) {
            format!("exit code {}", libc::WEXITSTATUS(status))
        } else {
            format!("signal {}", libc::WTERMSIG(status))
        };
        bail!("{shown} ended with {how}");
    }
    let usage = Usage {
        wall,
        cpu: duration(used.ru_utime) + duration(used.ru_stime),
        // Linux counts in kibibytes, macOS in bytes.
        peak_bytes: used.ru_maxrss as u64 * if cfg!(target_os = "macos") { 1 } else { 1024 },
    };
    Ok((usage, output))
}

/// A stopwatch over other processes. The engine's clock would be the only use of the engine here, and linking it would make
/// cargo build it, and what is below it, a second time with other features than `weir` has.
#[expect(
    clippy::disallowed_methods,
    reason = "no job runs in this process, so there is no result that time could decide"
)]
pub fn now() -> Instant {
    Instant::now()
}

/// Milliseconds since the epoch, as other processes on this machine count them.
#[expect(
    clippy::disallowed_methods,
    reason = "no job runs in this process, so there is no result that time could decide"
)]
pub fn wall_clock_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// Does nothing for a while.
#[expect(
    clippy::disallowed_methods,
    reason = "no job runs in this process, so there is no result that time could decide"
)]
pub fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

/// Waits for a child that was started elsewhere and asked to end. Returns the processor time that it took, in seconds.
///
/// # Errors
/// When it is no child of this process.
pub fn processor_seconds(pid: u32) -> Result<f64> {
    let (_, used) = wait(pid).with_context(|| format!("waiting for process {pid}"))?;
    Ok((duration(used.ru_utime) + duration(used.ru_stime)).as_secs_f64())
}

/// Waits for one child and takes its usage, which `std` has no way to ask for.
fn wait(pid: u32) -> std::io::Result<(i32, libc::rusage)> {
    let pid = libc::pid_t::try_from(pid).map_err(std::io::Error::other)?;
    let mut status = 0;
    loop {
        // SAFETY: rusage is plain integers, for which zeros are a value.
        let mut used: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: both pointers are to locals that outlive the call, and the child is ours and has not been waited for:
        // `Child` waits only when asked to.
        let waited = unsafe { libc::wait4(pid, &mut status, 0, &mut used) };
        if waited == pid {
            return Ok((status, used));
        }
        let error = std::io::Error::last_os_error();
        if error.kind() != std::io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

fn duration(time: libc::timeval) -> Duration {
    Duration::from_secs(time.tv_sec as u64) + Duration::from_micros(time.tv_usec as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_works_is_seen_to_work() {
        let (usage, output) =
            measure(Command::new("sh").args(["-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo done"]))
                .unwrap();
        assert_eq!(output, "done\n");
        assert!(usage.cpu > Duration::ZERO && usage.peak_bytes > 100_000, "{usage:?}");
        // A millisecond of slack: the kernel adds up user and system time in ticks on some machines.
        assert!(
            usage.wall + Duration::from_millis(20) >= usage.cpu,
            "one thread works no longer than it lives: {usage:?}"
        );
    }

    #[test]
    fn a_process_that_fails_is_an_error() {
        let error = measure(Command::new("sh").args(["-c", "exit 3"])).unwrap_err();
        assert!(format!("{error:#}").contains("exit code 3"), "{error:#}");
        assert!(measure(&mut Command::new("/there/is/no/such/program")).is_err());
    }
}
