//! Who a coordinator is: its number, and its disk.
//!
//! A number belongs to one disk for good. Whoever comes with the number and without the disk has forgotten what it has voted for and
//! what it has acknowledged: as the same coordinator it could vote twice. So the others know each member's disk and talk to no other
//! one, and until it has heard its own disk's name from them, one with an empty log votes only while a new group is begun.

use super::{
    database::{Database, VALUES, failed},
    record,
};
use redb::{ReadTransaction, StorageBackend};
use serde::de::DeserializeOwned;
use std::sync::atomic::{AtomicBool, Ordering};
use weir_engine::{EngineError, Result, env::Env};
use xxhash_rust::xxh3::xxh3_64_with_seed;

const NODE: &str = "node";
const DISK: &str = "disk";
const CONFIRMED: &str = "confirmed";

/// What a disk says of whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The number of its coordinator; none: of none yet.
    pub node: Option<u64>,
    /// What tells it from any other disk.
    pub disk: u64,
}

/// Who this coordinator is.
pub(super) struct Identity {
    /// Its number.
    pub node: u64,
    /// What tells its disk from any other.
    pub disk: u64,
    confirmed: AtomicBool,
    database: Database,
}

/// Looks up whose a disk is, and names it where it has no name yet.
///
/// # Errors
/// When the disk refuses or is damaged.
pub async fn stored_identity(backend: impl StorageBackend, env: Env) -> Result<Stored> {
    let database = Database::open(backend, env.clone()).await?;
    let stored = name(&database, &env, 0).await;
    database.close().await?;
    stored
}

impl Identity {
    /// A data directory is one coordinator's.
    ///
    /// # Errors
    /// When it is another one's, or the disk refuses.
    pub async fn claim(database: &Database, node: u64, env: &Env) -> Result<Identity> {
        let Stored { node: owner, disk } = name(database, env, node).await?;
        match owner {
            Some(owner) if owner != node => {
                return Err(EngineError::definition(format!(
                    "the metadata is that of coordinator {owner}, this one is {node}; leave out --node-id, or start it with another \
                     --data-dir"
                )));
            }
            Some(_) => {}
            None => write(database, NODE, &node).await?,
        }
        let confirmed: Option<bool> = database.read("read", |transaction| value(transaction, CONFIRMED)).await?;
        let confirmed = AtomicBool::new(confirmed.unwrap_or(false));
        Ok(Identity { node, disk, confirmed, database: database.clone() })
    }

    /// Whether the others have called this disk by its name.
    pub fn is_confirmed(&self) -> bool {
        self.confirmed.load(Ordering::Acquire)
    }

    /// They have.
    ///
    /// # Errors
    /// When that cannot be written down.
    pub async fn confirm(&self) -> Result<()> {
        if !self.is_confirmed() {
            write(&self.database, CONFIRMED, &true).await?;
            self.confirmed.store(true, Ordering::Release);
        }
        Ok(())
    }
}

async fn name(database: &Database, env: &Env, node: u64) -> Result<Stored> {
    let (owner, disk): (Option<u64>, Option<u64>) =
        database.read("read", |transaction| Ok((value(transaction, NODE)?, value(transaction, DISK)?))).await?;
    if let Some(disk) = disk {
        return Ok(Stored { node: owner, disk });
    }
    // In tests all may have the same dice.
    let disk = xxh3_64_with_seed(&env.wall_clock_ms().to_le_bytes(), env.nonce() ^ node);
    if owner.is_some() {
        // From before disks had names: a member.
        write(database, CONFIRMED, &true).await?;
    }
    write(database, DISK, &disk).await?;
    Ok(Stored { node: owner, disk })
}

fn value<T: DeserializeOwned>(transaction: &ReadTransaction, key: &'static str) -> Result<Option<T>> {
    let values = transaction.open_table(VALUES).map_err(failed("read"))?;
    let stored = values.get(key).map_err(failed("read"))?;
    stored.map(|stored| record::decode(&format!("the metadata's '{key}'"), stored.value())).transpose()
}

async fn write<T: serde::Serialize>(database: &Database, key: &'static str, value: &T) -> Result<()> {
    let stored = record::encode(&format!("the metadata's '{key}'"), value)?;
    database
        .write("write", move |transaction| {
            let mut values = transaction.open_table(VALUES).map_err(failed("write"))?;
            values.insert(key, stored.as_slice()).map_err(failed("write"))?;
            Ok(())
        })
        .await
}
