//! The lookup of what a table says of each click's ad.

/// Where the results go, below the folder of outputs.
pub const LOOKED_UP: &str = "looked_up";

/// What a job is told of the lookup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Campaigns {
    /// Of the database.
    pub url: String,
    /// Whether a database that is away is waited for. Else rows without an answer pass with nulls.
    pub waits: bool,
}

impl Campaigns {
    /// Two of five seeds have a lookup.
    pub fn of_seed(seed: u64) -> Option<Self> {
        (seed % 5 < 2).then(|| Campaigns { url: String::new(), waits: seed.is_multiple_of(2) })
    }

    /// The lookup.
    pub fn section(&self) -> String {
        let (on_failure, times) = if self.waits { ("fail", "") } else { ("null", "times = 2, ") };
        format!(
            "[lookup.campaigns]\ninput = \"valid\"\nconnector = \"sql\"\nurl = {:?}\ntable = \"campaigns\"\non = [\"ad_id\"]\n\
             schema = {{ version = \"int\" }}\ncache = {{ ttl = \"300d\" }}\ntimeout = \"200ms\"\n\
             retries = {{ {times}pause = \"30ms\", longest_pause = \"300ms\" }}\non_failure = \"{on_failure}\"\n\n",
            self.url
        )
    }
}
