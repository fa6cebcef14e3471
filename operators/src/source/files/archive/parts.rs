//! The files of an archive, for readers outside a job.

use super::outside_of_hours;
use crate::{
    hour_partition::hour_of,
    source::files::listing::{Location, OtherNames, Place, Wanted, cannot_read},
};
use bytes::Bytes;
use object_store::ObjectStoreExt;
use weir_engine::error::{EngineError, Result};

/// A file of an archive.
#[derive(Clone, Debug)]
pub struct ArchivePart {
    /// Its whole name, which says where it is.
    pub name: String,
    /// Start of its hour, in milliseconds since 1970.
    pub hour_ms: i64,
    place: Place,
}

impl ArchivePart {
    /// All its bytes.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn fetch(&self) -> Result<Bytes> {
        match &self.place {
            Place::Local(path) => {
                tokio::fs::read(path).await.map(Bytes::from).map_err(|error| cannot_read(path, &error))
            }
            Place::Object { store, path, .. } => {
                let failed = |error: object_store::Error| {
                    EngineError::caused_by(&error, format!("cannot read {}: {error}", self.name))
                };
                store.get(path).await.map_err(failed)?.bytes().await.map_err(failed)
            }
        }
    }
}

/// The files of the archive at a path or URL, by hour and name.
///
/// # Errors
/// When they cannot be listed, or one lies in no folder of an hour.
pub async fn archive_parts(path: &str) -> Result<Vec<ArchivePart>> {
    let files = Location::parse(path)?.list(Wanted::Parquet, OtherNames::PassOver).await?;
    let part = |file: super::FoundFile| {
        let hour_ms = hour_of(&file.name).ok_or_else(|| outside_of_hours(&file.name))?;
        Ok(ArchivePart { name: file.name, hour_ms, place: file.place })
    };
    let mut parts = files.into_iter().map(part).collect::<Result<Vec<_>>>()?;
    parts.sort_by(|a, b| (a.hour_ms, &a.name).cmp(&(b.hour_ms, &b.name)));
    Ok(parts)
}
