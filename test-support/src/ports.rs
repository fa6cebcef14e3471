//! Ports for servers that have to be told theirs.

use std::{
    io,
    net::TcpListener,
    sync::atomic::{AtomicU32, Ordering},
};

/// The first, and how many: below those that a machine gives to whoever does not care (Linux: from 32,768), so that nobody is given
/// one before it is used, or while a server that was killed is away.
const FIRST: u32 = 20_000;
const COUNT: u32 = 12_000;
/// Test programs run side by side, and their process ids follow one another: each begins so far from the next.
const APART: u32 = 131;

/// A port of this machine that nobody listens on, and that this process has not been given before.
///
/// # Errors
/// When there is none.
pub fn free_port() -> io::Result<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let begin = std::process::id().wrapping_mul(APART) % COUNT;
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        let port = FIRST + (begin + step) % COUNT;
        let port = u16::try_from(port).map_err(io::Error::other)?;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    Err(io::Error::other(format!("no port from {FIRST} on is free")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_given_once_and_nobody_listens_on_it() {
        let first = free_port().unwrap();
        let listener = TcpListener::bind(("127.0.0.1", first)).unwrap();
        let others: Vec<u16> = (0..100).map(|_| free_port().unwrap()).collect();
        assert!(!others.contains(&first));
        assert!(others.iter().all(|port| (20_000..32_000).contains(port)), "{others:?}");
        drop(listener);
    }
}
