//! Records as they are read and written.

/// A record of a topic, as long as it is looked at.
#[derive(Clone, Copy, Debug)]
pub struct RecordRef<'a> {
    /// Its place in its partition.
    pub offset: i64,
    /// Which leader of its partition wrote it, counted; none: the brokers don't say.
    pub leader_epoch: Option<i32>,
    /// When it was produced or appended, as the topic has it, in milliseconds since the epoch; none: it says nothing.
    pub timestamp_ms: Option<i64>,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value; none: a tombstone.
    pub value: Option<&'a [u8]>,
    /// Its headers, in their order.
    pub headers: Headers<'a>,
}

/// The headers of a record, copied when they are asked for only.
#[derive(Clone, Copy)]
pub struct Headers<'a>(pub &'a dyn Fn() -> Vec<(String, Option<Vec<u8>>)>);

impl Headers<'_> {
    /// All of them, in their order.
    pub fn all(&self) -> Vec<(String, Option<Vec<u8>>)> {
        (self.0)()
    }
}

impl std::fmt::Debug for Headers<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.all()).finish()
    }
}

/// A record to be written.
#[derive(Clone, Copy, Debug)]
pub struct NewRecord<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// Its partition, which the writer has chosen.
    pub partition: i32,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value; none: a tombstone.
    pub value: Option<&'a [u8]>,
    /// Its headers.
    pub headers: &'a [(&'a str, &'a [u8])],
    /// When it happened, in milliseconds since the epoch; none: now.
    pub timestamp_ms: Option<i64>,
}
