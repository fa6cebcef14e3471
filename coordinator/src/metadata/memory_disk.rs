//! A disk in memory that survives a simulated crash, and then loses what was never synced.

use super::database;
use parking_lot::{Mutex, MutexGuard};
use rand::{Rng, RngExt};
use redb::StorageBackend;
use std::{fmt, io, sync::Arc};

/// A disk. Clones are the same disk; a process opens it by [`MemoryDisk::backend`].
#[derive(Clone, Default)]
pub struct MemoryDisk(Arc<Mutex<Platter>>);

/// A disk as one process has it open. A crash of the disk ends it: whatever it does afterwards is refused.
pub struct MemoryBackend {
    disk: MemoryDisk,
    opening: u64,
}

#[derive(Default)]
struct Platter {
    /// What a reader sees.
    current: Vec<u8>,
    /// What would be left after a crash now.
    synced: Vec<u8>,
    /// What lies between the two, in order.
    unsynced: Vec<Change>,
    /// Rises with every crash.
    opening: u64,
    syncs: u64,
    refusing: bool,
}

enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

/// A device writes sectors of this size as a whole, or not at all.
const SECTOR: usize = 512;

impl MemoryDisk {
    /// A disk with empty metadata on it, as a new data directory has.
    ///
    /// # Panics
    /// Never: memory does not refuse.
    pub fn new() -> Self {
        let disk = MemoryDisk::blank();
        database::format(disk.backend()).expect("memory does not refuse");
        disk
    }

    /// A disk with nothing on it.
    pub fn blank() -> Self {
        MemoryDisk::default()
    }

    /// Opens it, as a process does that starts.
    pub fn backend(&self) -> MemoryBackend {
        MemoryBackend { opening: self.platter().opening, disk: self.clone() }
    }

    /// Loses everything that was not synced, and everybody who had it open. Call it before the process's tasks are dropped:
    /// what they still write while they go is lost too, as it would be.
    pub fn crash(&self) {
        self.platter().crash(|_, _| false);
    }

    /// The same, but of what was not synced an arbitrary part, sector by sector, has reached the disk.
    pub fn crash_torn(&self, dice: &mut impl Rng) {
        self.platter().crash(|_, _| dice.random_bool(0.5));
    }

    /// Refuses every write and sync from here on, or no longer, as a full or failing disk does.
    pub fn refuse_writes(&self, refusing: bool) {
        self.platter().refusing = refusing;
    }

    /// What a crash now would leave.
    pub fn synced_bytes(&self) -> Vec<u8> {
        self.platter().synced.clone()
    }

    /// How often it was synced.
    pub fn syncs(&self) -> u64 {
        self.platter().syncs
    }

    /// Changes its content behind the back of the process that has it open: damage.
    pub fn damage(&self, damage: impl FnOnce(&mut Vec<u8>)) {
        let mut platter = self.platter();
        platter.crash(|_, _| false);
        damage(&mut platter.synced);
        platter.current = platter.synced.clone();
    }

    fn platter(&self) -> MutexGuard<'_, Platter> {
        self.0.lock()
    }
}

impl Platter {
    /// `reaches(change, sector)`: whether that sector of an unsynced change is on the disk all the same.
    fn crash(&mut self, mut reaches: impl FnMut(usize, usize) -> bool) {
        for (index, change) in std::mem::take(&mut self.unsynced).into_iter().enumerate() {
            match change {
                Change::Length(length) if reaches(index, 0) => self.synced.resize(length, 0),
                Change::Length(_) => {}
                Change::Write { offset, bytes } => {
                    let mut at = offset;
                    while at < offset + bytes.len() {
                        let end = ((at / SECTOR + 1) * SECTOR).min(offset + bytes.len());
                        if end <= self.synced.len() && reaches(index, at / SECTOR) {
                            self.synced[at..end].copy_from_slice(&bytes[at - offset..end - offset]);
                        }
                        at = end;
                    }
                }
            }
        }
        self.current = self.synced.clone();
        self.opening += 1;
    }

    fn sync(&mut self) {
        for change in std::mem::take(&mut self.unsynced) {
            match change {
                Change::Length(length) => self.synced.resize(length, 0),
                Change::Write { offset, bytes } => self.synced[offset..offset + bytes.len()].copy_from_slice(&bytes),
            }
        }
        self.syncs += 1;
    }
}

impl MemoryBackend {
    fn open(&self) -> io::Result<MutexGuard<'_, Platter>> {
        let platter = self.disk.platter();
        if platter.opening != self.opening {
            return Err(io::Error::other("the disk has crashed since it was opened"));
        }
        Ok(platter)
    }

    fn writable(&self) -> io::Result<MutexGuard<'_, Platter>> {
        let platter = self.open()?;
        if platter.refusing {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "the disk refuses to write"));
        }
        Ok(platter)
    }
}

/// The place of `length` bytes from `offset` in a disk of `size` bytes.
fn place(offset: u64, length: usize, size: usize) -> io::Result<(usize, usize)> {
    let start = usize::try_from(offset).ok();
    match start.and_then(|start| Some((start, start.checked_add(length)?))) {
        Some((start, end)) if end <= size => Ok((start, end)),
        _ => Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("{length} bytes from {offset} lie beyond the disk's {size} bytes"),
        )),
    }
}

impl StorageBackend for MemoryBackend {
    fn len(&self) -> io::Result<u64> {
        Ok(self.open()?.current.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let platter = self.open()?;
        let (start, end) = place(offset, out.len(), platter.current.len())?;
        out.copy_from_slice(&platter.current[start..end]);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut platter = self.writable()?;
        let length = usize::try_from(length).map_err(io::Error::other)?;
        platter.current.resize(length, 0);
        platter.unsynced.push(Change::Length(length));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.writable()?.sync();
        Ok(())
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut platter = self.writable()?;
        let (start, end) = place(offset, bytes.len(), platter.current.len())?;
        platter.current[start..end].copy_from_slice(bytes);
        platter.unsynced.push(Change::Write { offset: start, bytes: bytes.to_vec() });
        Ok(())
    }
}

impl fmt::Debug for MemoryDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let platter = self.platter();
        f.debug_struct("MemoryDisk")
            .field("bytes", &platter.current.len())
            .field("unsynced", &platter.unsynced.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for MemoryBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryBackend").field("disk", &self.disk).field("opening", &self.opening).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_engine::env::Env;

    fn read(backend: &MemoryBackend, offset: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        backend.read(offset, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_crash_forgets_what_was_not_synced_and_nothing_else() {
        let disk = MemoryDisk::blank();
        let before = disk.backend();
        before.set_len(8).unwrap();
        before.write(0, b"kept").unwrap();
        before.sync_data().unwrap();
        before.write(2, b"lost").unwrap();
        before.set_len(100).unwrap();
        assert_eq!(read(&before, 0, 8), b"kelost\0\0", "until then it is read back");
        disk.crash();
        let after = disk.backend();
        assert_eq!(after.len().unwrap(), 8);
        assert_eq!(read(&after, 0, 8), b"kept\0\0\0\0");
        assert!(before.write(0, b"zombie").is_err(), "who had it open before has it no more");
        assert!(before.sync_data().is_err());
        assert!(before.len().is_err());
        assert_eq!(read(&after, 0, 4), b"kept");
    }

    #[test]
    fn a_torn_crash_keeps_some_sectors_of_what_was_not_synced() {
        let disk = MemoryDisk::blank();
        let backend = disk.backend();
        backend.set_len(64 * SECTOR as u64).unwrap();
        backend.sync_data().unwrap();
        backend.write(0, &vec![7; 64 * SECTOR]).unwrap();
        disk.crash_torn(&mut Env::seeded(1).rng("torn"));
        let synced = disk.synced_bytes();
        let kept = synced.chunks(SECTOR).filter(|sector| sector.iter().all(|byte| *byte == 7)).count();
        let lost = synced.chunks(SECTOR).filter(|sector| sector.iter().all(|byte| *byte == 0)).count();
        assert_eq!(kept + lost, 64, "a sector is whole");
        assert!(kept > 10 && lost > 10, "{kept} kept, {lost} lost");
    }

    #[test]
    fn nothing_is_read_or_written_beyond_its_end_or_while_it_refuses() {
        let disk = MemoryDisk::blank();
        let backend = disk.backend();
        backend.set_len(4).unwrap();
        assert!(backend.write(2, b"abc").is_err());
        assert!(backend.read(u64::MAX, &mut [0; 2]).is_err());
        disk.refuse_writes(true);
        assert!(backend.write(0, b"a").is_err() && backend.set_len(9).is_err() && backend.sync_data().is_err());
        disk.refuse_writes(false);
        backend.write(0, b"a").unwrap();
        assert_eq!(disk.syncs(), 0);
    }
}
