//! The newest usable state of the files.

use crate::files::{Contents, Loaded, TlsFiles};
use parking_lot::Mutex;
use std::{fmt, sync::Arc, time::Duration};
use weir_engine::env::Env;

/// How often the files are read again.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// So long before a certificate expires it is warned of.
const SOON: Duration = Duration::from_secs(7 * 24 * 3600);

/// TLS by a set of files, which is read again as files change. Cheap to clone.
#[derive(Clone)]
pub struct Tls(Arc<Shared>);

struct Shared {
    files: TlsFiles,
    state: Mutex<State>,
}

struct State {
    loaded: Arc<Loaded>,
    /// Of what was read last, usable or not.
    fingerprint: u64,
    /// What was warned of last, which is said once.
    told: Option<String>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tls").field(&self.0.files).finish()
    }
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// When one cannot be read or used, the key is not the certificate's, or the certificate is not the CA's or not valid now.
    pub fn load(files: TlsFiles) -> Result<Self, String> {
        let contents = Contents::read(&files)?;
        let loaded = Arc::new(Loaded::new(&files, &contents)?);
        let state = State { loaded, fingerprint: contents.fingerprint(), told: None };
        Ok(Tls(Arc::new(Shared { files, state: Mutex::new(state) })))
    }

    /// What a handshake uses now.
    pub(crate) fn now(&self) -> Arc<Loaded> {
        self.0.state.lock().loaded.clone()
    }

    /// Reads the files again: if they have changed and are usable, new handshakes use them. If they are not, that is warned of
    /// once and nothing changes. Returns whether new files are used.
    pub fn look(&self) -> bool {
        // Before the lock is taken: a disk that hangs holds up no handshake.
        let read = Contents::read(&self.0.files);
        let mut state = self.0.state.lock();
        let contents = match read {
            Ok(contents) => contents,
            Err(problem) => {
                state.keep(&problem);
                return false;
            }
        };
        let fingerprint = contents.fingerprint();
        if fingerprint == state.fingerprint {
            state.look_at_age();
            return false;
        }
        state.fingerprint = fingerprint;
        match Loaded::new(&self.0.files, &contents) {
            Ok(loaded) => {
                (state.loaded, state.told) = (Arc::new(loaded), None);
                tracing::info!(files = ?self.0.files, "new TLS files are used for new connections");
                true
            }
            Err(problem) => {
                state.keep(&problem);
                false
            }
        }
    }

    /// Reads the files again now and then, for as long as it is polled.
    pub async fn watch(self, env: Env) {
        loop {
            env.sleep(LOOK_EVERY).await;
            let tls = self.clone();
            if tokio::task::spawn_blocking(move || tls.look()).await.is_err() {
                return;
            }
        }
    }
}

impl State {
    fn keep(&mut self, problem: &str) {
        self.tell(format!("{problem}; the TLS files read before stay in use"));
    }

    fn look_at_age(&mut self) {
        match (self.loaded.verify_own(Duration::ZERO), self.loaded.verify_own(SOON)) {
            (Err(_), _) => {
                self.tell("this process's TLS certificate has expired: it is refused; replace the files".into())
            }
            (Ok(()), Err(_)) => {
                self.tell("this process's TLS certificate expires within a week; replace the files".into())
            }
            (Ok(()), Ok(())) => {}
        }
    }

    fn tell(&mut self, warning: String) {
        if self.told.as_ref() != Some(&warning) {
            tracing::warn!("{warning}");
            self.told = Some(warning);
        }
    }
}
