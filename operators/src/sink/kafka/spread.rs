//! Which partition a record goes to: where Java's own producer would put its key; without a key, one after the other.

use weir_kafka::partition::partition_of;

/// Chooses partitions, in one subtask.
#[derive(Debug)]
pub(super) struct Spread {
    next: u64,
}

impl Spread {
    /// Of a subtask, so that all of them together begin everywhere.
    pub fn of(subtask: usize) -> Self {
        Spread { next: subtask as u64 }
    }

    /// The partition of a record among so many. What has no key may be anywhere: once it is staged, it stays where it is.
    pub fn partition(&mut self, key: Option<&[u8]>, record_id: Option<&[u8]>, partitions: i32) -> i32 {
        // The revisions of a result stay in their order.
        if let Some(bytes) = key.or(record_id) {
            return partition_of(bytes, partitions);
        }
        let partition = self.next % u64::from(partitions.max(1).unsigned_abs());
        self.next = self.next.wrapping_add(1);
        i32::try_from(partition).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_where_java_puts_them_and_others_everywhere() {
        let mut spread = Spread::of(4);
        // `toPositive(murmur2("foobar")) % 6` of Apache Kafka.
        assert_eq!(spread.partition(Some(b"foobar"), None, 6), (-790_332_482 & 0x7fff_ffff) % 6);
        assert_eq!(spread.partition(Some(b"foobar"), Some(b"x"), 6), partition_of(b"foobar", 6));
        assert_eq!(spread.partition(None, Some(b"x"), 6), partition_of(b"x", 6));
        assert_eq!([(); 4].map(|()| spread.partition(None, None, 3)), [1, 2, 0, 1]);
    }
}
