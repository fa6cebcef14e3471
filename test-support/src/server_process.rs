//! The process of a server: begun, ended at once, frozen. Whoever has the server looks after what it needs.

use std::{
    fs, io,
    process::{Child, Command, Stdio},
};

/// A process, while there is one; killed when it is dropped.
#[derive(Debug)]
pub(crate) struct ServerProcess {
    name: &'static str,
    child: Option<Child>,
}

impl ServerProcess {
    /// There is none yet.
    pub(crate) fn none(name: &'static str) -> Self {
        ServerProcess { name, child: None }
    }

    /// Begins it; what it says goes into a file.
    pub(crate) fn begin(&mut self, command: &mut Command, log: fs::File) -> io::Result<()> {
        let said = log.try_clone()?;
        self.child = Some(command.stdin(Stdio::null()).stdout(said).stderr(log).spawn()?);
        Ok(())
    }

    /// Whether it has not ended.
    pub(crate) fn runs(&mut self) -> io::Result<bool> {
        match &mut self.child {
            Some(child) => Ok(child.try_wait()?.is_none()),
            None => Ok(false),
        }
    }

    /// Ends it at once, as a power failure would.
    pub(crate) fn kill(&mut self) -> io::Result<()> {
        match self.child.take() {
            Some(mut child) => {
                child.kill()?;
                child.wait().map(drop)
            }
            None => Ok(()),
        }
    }

    /// Sends a signal to it: `STOP`, `CONT`.
    pub(crate) fn signal(&self, signal: &str) -> io::Result<()> {
        self.send(signal, Vec::new())
    }

    /// The same, and to the processes that it has begun.
    pub(crate) fn signal_all(&self, signal: &str) -> io::Result<()> {
        self.send(signal, children(self.id()?))
    }

    fn id(&self) -> io::Result<u32> {
        let running = self.child.as_ref().map(Child::id);
        running.ok_or_else(|| io::Error::other(format!("{} is not running", self.name)))
    }

    fn send(&self, signal: &str, others: Vec<String>) -> io::Result<()> {
        let signal = format!("-{signal}");
        if !Command::new("kill").args([&signal, &self.id()?.to_string()]).status()?.success() {
            return Err(io::Error::other(format!("kill {signal} of {} failed", self.name)));
        }
        if !others.is_empty() {
            // One that has ended meanwhile needs no signal.
            Command::new("kill").arg(signal).args(others).stderr(Stdio::null()).status()?;
        }
        Ok(())
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.kill();
    }
}

/// The processes that a process has begun.
fn children(process: u32) -> Vec<String> {
    let listed = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
    listed.split_whitespace().map(String::from).collect()
}
