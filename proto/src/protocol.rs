//! Which releases work side by side: those that speak the same version of the protocol, whatever their own versions are.
//!
//! One number stands for all that processes say to each other: control messages, frames of the data plane, and what coordinators
//! replicate, where each must decide the same from the same command. Raise it when a process of the release before would misunderstand
//! one of this release, or the other way round; a field or message that the other side may ignore needs no new number. What is stored
//! (checkpoints, the catalog) has numbers of its own.

/// The version that processes must share to work together.
pub const PROTOCOL_VERSION: u32 = 6;

/// Why this process does not work together with another one, and what to do; none: they may.
///
/// `theirs` and `mine` name the processes, as in `worker w-1 (Weir 0.2.0)`; `version` is what the other one speaks.
pub fn mismatch(theirs: &str, version: u32, mine: &str) -> Option<String> {
    let newer = match version.cmp(&PROTOCOL_VERSION) {
        std::cmp::Ordering::Equal => return None,
        std::cmp::Ordering::Less => mine,
        std::cmp::Ordering::Greater => theirs,
    };
    Some(format!(
        "{theirs} speaks version {version} of the protocol, {mine} version {PROTOCOL_VERSION}: releases work side by side where these \
         are the same; replace all processes by the release of {newer}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_version_may_and_another_one_is_told_which_release_to_use() {
        assert_eq!(mismatch("worker a (Weir 9.9.9)", PROTOCOL_VERSION, "this coordinator (Weir 0.1.0)"), None);
        let newer = mismatch("worker a", PROTOCOL_VERSION + 1, "this coordinator").unwrap();
        let theirs = format!("worker a speaks version {}", PROTOCOL_VERSION + 1);
        assert!(newer.contains(&theirs) && newer.ends_with("release of worker a"), "{newer}");
        let older = mismatch("worker a", PROTOCOL_VERSION - 1, "this coordinator").unwrap();
        let mine = format!("this coordinator version {PROTOCOL_VERSION}");
        assert!(older.contains(&mine) && older.ends_with("release of this coordinator"), "{older}");
    }
}
