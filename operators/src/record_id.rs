//! The identity of an output record: the same in every attempt, at every parallelism and in every replay.
//!
//! A record id is a UUID of version 8 (RFC 9562): XXH3-128 of 48 bytes, with version and variant bits set. The 48 bytes are,
//! all little-endian: the *namespace* (16), the key hash (16, see [`weir_engine::hash`]), the window's start and its end in
//! milliseconds (8 each). The namespace is XXH3-128 of the job's name and the operator's id, each behind its length in
//! eight bytes, and is computed once. Stored outputs depend on this: golden values are tested.

use xxhash_rust::xxh3::xxh3_128;

/// Makes the record ids of one operator.
#[derive(Debug, Clone, Copy)]
pub struct RecordIds {
    namespace: [u8; 16],
}

impl RecordIds {
    /// For one operator of one job, by their names.
    pub fn new(job: &str, operator: &str) -> Self {
        let mut bytes = Vec::with_capacity(16 + job.len() + operator.len());
        for name in [job, operator] {
            bytes.extend_from_slice(&(name.len() as u64).to_le_bytes());
            bytes.extend_from_slice(name.as_bytes());
        }
        RecordIds { namespace: xxh3_128(&bytes).to_le_bytes() }
    }

    /// The id of the record of one key and one window `[start, end)`.
    #[inline]
    pub fn id(&self, key_hash: u128, window_start: i64, window_end: i64) -> [u8; 16] {
        let mut bytes = [0; 48];
        bytes[..16].copy_from_slice(&self.namespace);
        bytes[16..32].copy_from_slice(&key_hash.to_le_bytes());
        bytes[32..40].copy_from_slice(&window_start.to_le_bytes());
        bytes[40..].copy_from_slice(&window_end.to_le_bytes());
        let mut id = xxh3_128(&bytes).to_be_bytes();
        id[6] = id[6] & 0x0f | 0x80;
        id[8] = id[8] & 0x3f | 0x80;
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(id: [u8; 16]) -> String {
        uuid::Uuid::from_bytes(id).to_string()
    }

    #[test]
    fn golden_ids() {
        let ids = RecordIds::new("ad-click", "aggregate.clicks_per_minute");
        // Computed independently, with Python's xxhash package.
        assert_eq!(text(ids.id(0, 0, 60_000)), GOLDEN_ZERO);
        assert_eq!(text(ids.id(u128::MAX, -60_000, 0)), GOLDEN_MAX);
        assert_eq!(uuid::Uuid::from_bytes(ids.id(7, 0, 1)).get_version_num(), 8);
    }
    const GOLDEN_ZERO: &str = "f2bc740d-f54a-893d-97c8-c39f827b186a";
    const GOLDEN_MAX: &str = "08b9b1f2-be49-874e-9299-46004a18fd77";

    #[test]
    fn names_do_not_run_into_each_other() {
        assert_ne!(RecordIds::new("ab", "c").namespace, RecordIds::new("a", "bc").namespace);
    }
}
