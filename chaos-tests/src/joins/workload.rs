//! Orders and clicks in files, in disorder, some of them too late.

use anyhow::Result;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::{fmt::Write as _, path::Path};

const START: i64 = 1_646_352_000_000;
const ROWS_PER_FILE: usize = 110;

/// A row of either side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What it is called: that is not always its own.
    pub name: String,
    /// Whose it is; none: nobody knows.
    pub user: Option<u8>,
    /// Where.
    pub shop: u8,
    /// When, in milliseconds.
    pub at: i64,
}

/// The files of both sides.
#[derive(Debug, Clone)]
pub struct Workload {
    /// Orders, file by file, each in the order in which it is read.
    pub orders: Vec<Vec<Row>>,
    /// Clicks likewise.
    pub clicks: Vec<Vec<Row>>,
}

impl Workload {
    /// Made from a seed.
    pub fn generate(seed: u64) -> Self {
        let mut dice = StdRng::seed_from_u64(seed);
        let mut files = |count: usize, kind: &str| (0..count).map(|_| file(&mut dice, kind)).collect::<Vec<_>>();
        Workload { orders: files(2, "o"), clicks: files(3, "c") }
    }

    /// Writes a line for each row, below a folder.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn write(&self, folder: &Path) -> Result<()> {
        for (side, user, id, files) in
            [("orders", "user", "order", &self.orders), ("clicks", "visitor", "click", &self.clicks)]
        {
            std::fs::create_dir_all(folder.join(side))?;
            for (number, rows) in files.iter().enumerate() {
                let mut lines = String::new();
                for Row { name, user: whose, shop, at } in rows {
                    let whose = whose.map_or("null".to_owned(), |whose| format!("\"u{whose}\""));
                    writeln!(lines, r#"{{"{id}":"{name}","{user}":{whose},"shop":{shop},"at":{at}}}"#)?;
                }
                std::fs::write(folder.join(side).join(format!("{number}.json")), lines)?;
            }
        }
        Ok(())
    }
}

fn file(dice: &mut StdRng, kind: &str) -> Vec<Row> {
    let mut now = START;
    let mut rows: Vec<Row> = Vec::with_capacity(ROWS_PER_FILE);
    for number in 0..ROWS_PER_FILE {
        now += dice.random_range(0..3_000);
        // A file's time begins with its first rows.
        let lag = match dice.random_range(0..20) {
            _ if number < 5 => 0,
            0..13 => dice.random_range(0..1_500),
            13..18 => dice.random_range(0..40_000),
            _ => dice.random_range(40_000..120_000),
        };
        // To the second, so that there are ties.
        let at = (now - lag) - (now - lag).rem_euclid(1_000);
        if number > 0 && dice.random_range(0..15) == 0 {
            // The same again, on time or not.
            rows.push(rows[dice.random_range(0..number)].clone());
            continue;
        }
        let user = (dice.random_range(0..20) > 0).then(|| dice.random_range(0..5));
        let name = format!("{kind}{}", dice.random_range(0..40));
        rows.push(Row { name, user, shop: dice.random_range(0..2), at });
    }
    rows
}
