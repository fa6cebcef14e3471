//! One click as numbers, and the pure function from its place in the stream to it.
//!
//! Invariant: click `n` of a partition depends on the configuration, the partition and `n` alone. Batches, files, restarts
//! and the number of threads can therefore not change it.

use super::{
    config::ClickStreamConfig,
    random::{Draws, key, mix, share},
    zipf::Zipf,
};
use weir_engine::error::Result;

/// What became of a place in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A click of its own, in time.
    Fresh,
    /// A click of its own whose event time lies far back.
    Late,
    /// The same as an earlier click of its partition.
    Duplicate,
}

/// A click before it is written out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Click {
    pub(super) event_id: (u64, u64),
    /// Rank of the ad, from 0; the most clicked first.
    pub(super) ad: u32,
    /// Event time in whole seconds since the epoch.
    pub(super) second: i64,
    /// Number of the user, from 1.
    pub(super) user: u32,
    pub(super) ip: [u8; 4],
    /// Index into [`COUNTRIES`].
    pub(super) country: u8,
    pub(super) origin: Origin,
}

/// Countries, and how many of a thousand users live there.
pub(super) const COUNTRIES: [(&str, u64); 20] = [
    ("USA", 290),
    ("IND", 140),
    ("BRA", 75),
    ("GBR", 65),
    ("DEU", 55),
    ("JPN", 50),
    ("FRA", 45),
    ("MEX", 40),
    ("IDN", 36),
    ("CAN", 32),
    ("ITA", 28),
    ("ESP", 26),
    ("KOR", 24),
    ("AUS", 20),
    ("TUR", 18),
    ("POL", 15),
    ("NLD", 13),
    ("ZAF", 11),
    ("SWE", 9),
    ("CHE", 8),
];

/// What all clicks are drawn from.
pub(super) struct Law {
    config: ClickStreamConfig,
    ads: Zipf,
    duplicate: u64,
    late: u64,
    broken: u64,
}

impl Law {
    pub(super) fn new(config: ClickStreamConfig) -> Result<Self> {
        config.validate()?;
        Ok(Law {
            ads: Zipf::new(config.ads, config.skew),
            duplicate: share(config.duplicate_share),
            late: share(config.late_share),
            broken: share(config.broken_share),
            config,
        })
    }

    pub(super) fn config(&self) -> &ClickStreamConfig {
        &self.config
    }

    /// The key of all draws of one partition.
    pub(super) fn partition_key(&self, partition: u32) -> u64 {
        key(self.config.seed, u64::from(partition))
    }

    /// Click `place` of a partition.
    pub(super) fn click(&self, partition: u32, partition_key: u64, place: u64) -> Click {
        let mut original = place;
        // What a duplicate repeats may be one itself; the chain goes back strictly, so it ends.
        loop {
            let mut draws = Draws::at(partition_key, original);
            if draws.happens(self.duplicate) {
                let distance = 1 + draws.below(self.config.duplicate_within);
                if distance <= original {
                    original -= distance;
                    continue;
                }
            }
            let mut click = self.fresh(partition, partition_key, original, &mut draws);
            if original != place {
                click.origin = Origin::Duplicate;
            }
            return click;
        }
    }

    fn fresh(&self, partition: u32, partition_key: u64, place: u64, draws: &mut Draws) -> Click {
        let config = &self.config;
        let late = draws.happens(self.late);
        let behind_ms = if late {
            config.late_from_ms + draws.below(config.late_to_ms - config.late_from_ms)
        } else {
            draws.below(config.out_of_orderness_ms)
        };
        let user = 1 + draws.below(u64::from(config.users));
        let (ip, country) = self.whereabouts(user, draws.bits());
        Click {
            // The first half is a bijection of the place, so ids never repeat within a partition; the second half tells
            // partitions and seeds apart.
            event_id: (mix(partition_key ^ place), draws.bits()),
            ad: self.ads.rank(draws.bits()),
            second: (self.arrival_ms(partition, place) - behind_ms as i64).div_euclid(1_000),
            user: user as u32,
            ip,
            country,
            origin: if late { Origin::Late } else { Origin::Fresh },
        }
    }

    /// The newest event time that a click at this place may have. It starts late enough for the oldest one of a click in
    /// time to be the configured start.
    pub(super) fn arrival_ms(&self, partition: u32, place: u64) -> i64 {
        let config = &self.config;
        let number = u128::from(place) * u128::from(config.partitions) + u128::from(partition);
        let since_start = number * 1_000 / u128::from(config.rate) + u128::from(config.out_of_orderness_ms);
        config.start_ms.saturating_add(i64::try_from(since_start).unwrap_or(i64::MAX))
    }

    /// Four clicks in five come from a user's first address, the others from a second and a third one.
    fn whereabouts(&self, user: u64, bits: u64) -> ([u8; 4], u8) {
        let address = match bits % 20 {
            0..16 => 0,
            16..19 => 1,
            _ => 2,
        };
        let home = key(self.config.seed, user);
        let mut left = ((home >> 32) * 1_000) >> 32;
        let country = COUNTRIES.iter().position(|(_, weight)| {
            let here = left < *weight;
            left = left.saturating_sub(*weight);
            here
        });
        (public_address(mix(home.wrapping_add(address))), country.unwrap_or(0) as u8)
    }

    /// Whether a broken line follows the click at this place, and if so, bits that say how it is broken.
    pub(super) fn broken_after(&self, partition_key: u64, place: u64) -> Option<u64> {
        let mut draws = Draws::at(!partition_key, place);
        draws.happens(self.broken).then(|| draws.bits())
    }
}

/// An address that could be met on the internet: none of the private, loopback, link-local or multicast blocks.
fn public_address(bits: u64) -> [u8; 4] {
    let [first, second, third, last, ..] = bits.to_le_bytes();
    let first = match 1 + first % 223 {
        reserved @ (10 | 127 | 169 | 172 | 192) => reserved + 1,
        public => public,
    };
    [first, second, third, 1 + last % 254]
}
