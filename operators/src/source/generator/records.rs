//! Clicks as records of a log, each with the ad as its key: for Kafka.
//!
//! Invariant: all records in the order of the whole stream are the lines of the files of the same configuration; click `n` is from
//! server `n` modulo the number of servers.

use super::{ClickStream, LineFormat, PartitionClicks, write::GenerateReport};
use std::ops::Range;
use weir_engine::error::{EngineError, Result};

/// A click, or a broken line that was to be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClickRecord<'a> {
    /// The ad's id.
    pub key: &'a [u8],
    /// The line, without its end.
    pub value: &'a [u8],
}

/// Records in the order of their stream.
#[derive(Clone, Debug, Default)]
pub struct ClickRecords {
    bytes: Vec<u8>,
    /// Where key and value of each are.
    records: Vec<(Range<usize>, Range<usize>)>,
}

impl ClickRecords {
    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = ClickRecord<'_>> {
        self.records
            .iter()
            .map(|(key, value)| ClickRecord { key: &self.bytes[key.clone()], value: &self.bytes[value.clone()] })
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.records.clear();
    }

    /// Adds lines that have just been written, with the key that stands before them.
    fn push_lines(&mut self, key: Range<usize>) {
        let mut start = key.end;
        while let Some(length) = self.bytes[start..].iter().position(|byte| *byte == b'\n') {
            self.records.push((key.clone(), start..start + length));
            start += length + 1;
        }
    }
}

/// All clicks of a stream, one server's after the other's, as they would arrive.
pub struct AllClicks {
    servers: Vec<PartitionClicks>,
    next: usize,
    format: LineFormat,
}

impl AllClicks {
    /// From the first click on.
    ///
    /// # Errors
    /// When the stream has no servers.
    pub fn new(stream: &ClickStream, format: LineFormat) -> Result<Self> {
        let servers: Vec<PartitionClicks> =
            (0..stream.config().partitions).map(|partition| stream.partition(partition)).collect::<Result<_>>()?;
        if servers.is_empty() {
            return Err(EngineError::definition("a click stream without servers has no clicks"));
        }
        Ok(AllClicks { servers, next: 0, format })
    }

    /// The next clicks in place of what was there, at most `clicks` of them, counted. None are there at the end.
    pub fn next_into(&mut self, clicks: usize, records: &mut ClickRecords, report: &mut GenerateReport) {
        records.clear();
        for _ in 0..clicks {
            let server = &mut self.servers[self.next];
            if server.remaining() == 0 {
                // All have as many clicks, or one more: those come first.
                return;
            }
            let key = server.push_key(&mut records.bytes);
            server.next_lines(1, self.format, &mut records.bytes, report);
            records.push_lines(key);
            self.next = (self.next + 1) % self.servers.len();
        }
    }
}

impl PartitionClicks {
    /// Writes the next click's ad, and says where.
    fn push_key(&self, out: &mut Vec<u8>) -> Range<usize> {
        let start = out.len();
        let click = self.law.click(self.partition, self.partition_key, self.place);
        self.text.ad_id(&click, out);
        start..out.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::generator::ClickStreamConfig;

    fn stream(events: u64, partitions: u32) -> ClickStream {
        let config = ClickStreamConfig { events: Some(events), partitions, broken_share: 0.05, ..Default::default() };
        ClickStream::new(config).unwrap()
    }

    /// Taken apart again by server, they are what the files hold.
    #[test]
    fn records_are_the_lines_of_the_files() {
        let (stream, format) = (stream(1_000, 3), LineFormat::ClickLog { event_id: true });
        let (mut all, mut records, mut report) =
            (AllClicks::new(&stream, format).unwrap(), ClickRecords::default(), GenerateReport::default());
        let mut by_server = vec![Vec::new(); 3];
        let mut clicks = 0;
        loop {
            all.next_into(1, &mut records, &mut report);
            let Some(first) = records.iter().next() else { break };
            assert!(
                first.key.starts_with(b"ad0") && first.value.windows(first.key.len()).any(|text| text == first.key)
            );
            for record in records.iter() {
                assert_eq!(record.key, first.key);
                by_server[clicks % 3].extend([record.value, b"\n"].concat());
            }
            clicks += 1;
        }
        assert_eq!((clicks, report.clicks), (1_000, 1_000));
        assert!(report.broken_lines > 10, "{report:?}");
        for (server, lines) in by_server.into_iter().enumerate() {
            let (mut expected, mut counted) = (Vec::new(), GenerateReport::default());
            stream.partition(server as u32).unwrap().next_lines(1_000, format, &mut expected, &mut counted);
            assert_eq!(lines, expected);
        }
    }

    #[test]
    fn many_at_once_are_the_same_as_one_by_one() {
        let stream = stream(100, 4);
        let taken = |at_once: usize| {
            let (mut all, mut records) = (AllClicks::new(&stream, LineFormat::Json).unwrap(), ClickRecords::default());
            let mut taken = Vec::new();
            for _ in 0..100_usize.div_ceil(at_once) {
                all.next_into(at_once, &mut records, &mut GenerateReport::default());
                taken.extend(records.iter().map(|record| (record.key.to_vec(), record.value.to_vec())));
            }
            taken
        };
        assert_eq!(taken(1), taken(33));
    }
}
