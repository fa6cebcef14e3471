//! What a click stream looks like. Everything that decides its bytes is here, and nothing else does.

use serde::{Deserialize, Serialize};
use weir_engine::error::{EngineError, Result};

/// The settings of a [`ClickStream`](super::ClickStream). Two equal configurations give the same clicks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClickStreamConfig {
    /// Decides every draw.
    pub seed: u64,
    /// Clicks in all partitions together, duplicates included; none: without end.
    pub events: Option<u64>,
    /// Servers, or files, or splits: click `n` belongs to partition `n % partitions`.
    pub partitions: u32,
    /// Ads there are; the first is the most clicked.
    pub ads: u32,
    /// Exponent of Zipf's law over the ads: 0 is even, higher is more skewed.
    pub skew: f64,
    /// Users there are; each has a home country and up to three addresses.
    pub users: u32,
    /// Oldest event time of a click that is in time, in milliseconds since the epoch.
    pub start_ms: i64,
    /// Clicks per second of event time, all partitions together.
    pub rate: u64,
    /// A click has an event time up to this much older than its place in the stream. A watermark delay that is no
    /// shorter, in whole seconds, finds none of them behind.
    pub out_of_orderness_ms: u64,
    /// Share of the clicks that come much too late, from 0 to 1.
    pub late_share: f64,
    /// A late click has an event time at least this much older than its place in the stream ...
    pub late_from_ms: u64,
    /// ... and less than this much older.
    pub late_to_ms: u64,
    /// Share of the clicks that repeat an earlier one of their partition in every column, from 0 to 1.
    pub duplicate_share: f64,
    /// A duplicate comes at most this many clicks of its partition after what it repeats.
    pub duplicate_within: u64,
    /// Broken lines written between the clicks, as a share of the clicks, from 0 to 1. Line formats only: the clicks
    /// themselves are the same in every format.
    pub broken_share: f64,
}

impl Default for ClickStreamConfig {
    fn default() -> Self {
        ClickStreamConfig {
            seed: 1,
            events: Some(100_000),
            partitions: 2,
            ads: 10_000,
            skew: 1.1,
            users: 20_000,
            start_ms: 1_646_352_000_000, // 2022-03-04 00:00:00 UTC
            rate: 1_000,
            out_of_orderness_ms: 10_000,
            late_share: 0.002,
            late_from_ms: 60_000,
            late_to_ms: 1_200_000,
            duplicate_share: 0.005,
            duplicate_within: 1_000,
            broken_share: 0.0,
        }
    }
}

/// A setting that no stream can be made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongSetting {
    /// Its name.
    pub setting: &'static str,
    /// Its value.
    pub found: String,
    /// What it must be.
    pub right: String,
}

impl ClickStreamConfig {
    /// The stream that replays are measured with: 20 million clicks on 2 million ads over 33 minutes in two partitions,
    /// 0.5 % of them duplicates, none late or broken.
    pub fn benchmark() -> Self {
        ClickStreamConfig {
            events: Some(20_000_000),
            ads: 2_000_000,
            users: 1_000_000,
            rate: 10_000,
            late_share: 0.0,
            ..ClickStreamConfig::default()
        }
    }

    /// The names of the settings.
    pub fn keys() -> Vec<String> {
        match serde_json::to_value(ClickStreamConfig::default()) {
            Ok(serde_json::Value::Object(settings)) => settings.keys().cloned().collect(),
            _ => Vec::new(),
        }
    }

    /// With another value of a setting.
    ///
    /// # Errors
    /// When the value is none of that setting's.
    pub fn with(&self, key: &str, value: serde_json::Value) -> serde_json::Result<Self> {
        let mut settings = serde_json::to_value(self)?;
        settings[key] = value;
        serde_json::from_value(settings)
    }

    /// Clicks of one partition; none: without end.
    pub fn events_of(&self, partition: u32) -> Option<u64> {
        let partitions = u64::from(self.partitions.max(1));
        self.events.map(|events| (events + partitions - 1).saturating_sub(u64::from(partition)) / partitions)
    }

    /// Refuses what no stream can be made of.
    ///
    /// # Errors
    /// Names the setting, what was found and what would be right.
    pub fn validate(&self) -> Result<()> {
        self.check_settings().map_err(|WrongSetting { setting, found, right }| {
            EngineError::definition(format!("click stream: {setting} = {found}: must be {right}"))
        })?;
        self.validate_event_times()
    }

    /// Checks each setting, for whoever calls them by other names.
    ///
    /// # Errors
    /// The first that is wrong.
    pub fn check_settings(&self) -> std::result::Result<(), WrongSetting> {
        let refuse = |setting, found: &dyn std::fmt::Display, right: &str| {
            Err(WrongSetting { setting, found: found.to_string(), right: right.into() })
        };
        for (setting, found) in [("partitions", self.partitions), ("ads", self.ads), ("users", self.users)] {
            if found == 0 {
                return refuse(setting, &found, "at least 1");
            }
        }
        if self.rate == 0 {
            return refuse("rate", &self.rate, "at least 1 click per second of event time");
        }
        if !(0.0..=20.0).contains(&self.skew) {
            return refuse("skew", &self.skew, "from 0 (even) to 20");
        }
        for (setting, found) in [
            ("late_share", self.late_share),
            ("duplicate_share", self.duplicate_share),
            ("broken_share", self.broken_share),
        ] {
            if !(0.0..=1.0).contains(&found) {
                return refuse(setting, &found, "a share from 0 to 1");
            }
        }
        if self.duplicate_share >= 1.0 {
            return refuse("duplicate_share", &self.duplicate_share, "below 1, or there is nothing to repeat");
        }
        if self.duplicate_within == 0 {
            return refuse("duplicate_within", &self.duplicate_within, "at least 1 click");
        }
        if self.late_share > 0.0 && self.late_to_ms <= self.late_from_ms {
            return refuse("late_to_ms", &self.late_to_ms, &format!("above late_from_ms ({})", self.late_from_ms));
        }
        Ok(())
    }

    /// Event times must be ones that a log line can write: years 1 to 9999.
    fn validate_event_times(&self) -> Result<()> {
        const YEAR_1_MS: i128 = -62_135_596_800_000;
        const YEAR_10000_MS: i128 = 253_402_300_800_000;
        let back = i128::from(self.late_to_ms);
        let span =
            i128::from(self.events.unwrap_or(0)) * 1_000 / i128::from(self.rate) + i128::from(self.out_of_orderness_ms);
        let (first, last) = (i128::from(self.start_ms) - back, i128::from(self.start_ms) + span);
        if first < YEAR_1_MS || last >= YEAR_10000_MS {
            return Err(EngineError::definition(format!(
                "click stream: event times would run from {first} to {last} ms since the epoch: start_ms, rate, events \
                 and lateness must keep them between the years 1 and 9999"
            )));
        }
        Ok(())
    }
}
