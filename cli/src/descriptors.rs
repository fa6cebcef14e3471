//! File descriptors of this process: raises the limit to what the system allows, for ports, files and storage together.

/// Raises the soft limit to the hard one. Returns how many may be open.
pub fn raise() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the call writes into the structure that it is given, and keeps nothing of it.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        return USUAL;
    }
    // Some systems have no number for the hard limit, and refuse that as a soft one.
    for wanted in [limit.rlim_max, limit.rlim_max.min(MOST)] {
        let raised = libc::rlimit { rlim_cur: wanted, rlim_max: limit.rlim_max };
        // SAFETY: the call reads the structure that it is given, and keeps nothing of it.
        if limit.rlim_cur < wanted && unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raised) } == 0 {
            return wanted;
        }
    }
    limit.rlim_cur
}

/// What most systems give a process to begin with.
const USUAL: u64 = 1024;
/// What every system that is left gives when it is asked.
const MOST: u64 = 10_240;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_raised_once_and_then_stays() {
        let raised = raise();
        assert!(raised >= 64, "{raised}");
        assert_eq!(raise(), raised);
    }
}
