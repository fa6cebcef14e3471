//! Where Apache Kafka's programs are: fetched once by Maven, into this repository's `target`, or in a folder that `WEIR_KAFKA`
//! names.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// What is to be done where something is missing.
const REMEDY: &str = "apt-get install openjdk-17-jre-headless maven, or name a folder with Kafka's jars in WEIR_KAFKA";

/// Java, and the folder of Kafka's jars.
#[derive(Clone, Debug)]
pub(super) struct Installation {
    pub(super) java: PathBuf,
    pub(super) jars: PathBuf,
    /// What .ci/servers noted of the classes, where it did.
    pub(super) classes: Option<PathBuf>,
}

/// Finds the programs, or fetches them. `None`: something is missing, which has been [said](crate::missing).
pub(super) fn find() -> io::Result<Option<Installation>> {
    let Some(java) = crate::needs(&["java"], REMEDY) else { return Ok(None) };
    if let Some(named) = env::var_os("WEIR_KAFKA") {
        let named = PathBuf::from(named);
        // Jars alone, or a whole release.
        let folders = [named.clone(), named.join("lib"), named.join("libs")];
        let found = folders.into_iter().find(|folder| is_complete(folder));
        return match found {
            Some(jars) => Ok(Some(Installation { java, jars, classes: None })),
            None => Err(io::Error::other(format!("WEIR_KAFKA: there is no Kafka in {}", named.display()))),
        };
    }
    let jars = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/ci-tools/kafka");
    if !is_complete(&jars) {
        let Some(maven) = crate::needs(&["mvn"], REMEDY) else { return Ok(None) };
        fetch(&maven, &jars)?;
    }
    // The notes hold for the folder's one true name.
    let jars = jars.canonicalize()?;
    let classes = Some(jars.with_extension("jsa")).filter(|classes| classes.exists());
    Ok(Some(Installation { java, jars, classes }))
}

fn is_complete(folder: &Path) -> bool {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let names: Vec<String> = files.map(|file| file.file_name().to_string_lossy().into_owned()).collect();
    ["kafka_2.13-", "kafka-tools-4", "log4j-slf4j"]
        .iter()
        .all(|prefix| names.iter().any(|name| name.starts_with(prefix)))
}

/// Into a folder beside, which then gets its name at once: several test processes may want it.
fn fetch(maven: &Path, jars: &Path) -> io::Result<()> {
    let beside = jars.with_file_name(format!("kafka-{}", std::process::id()));
    fs::create_dir_all(&beside)?;
    fs::write(beside.join("pom.xml"), include_str!("pom.xml"))?;
    let done = Command::new("timeout")
        .args(["300", &maven.to_string_lossy(), "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=."])
        .current_dir(&beside)
        .stdin(Stdio::null())
        .output()?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        let _ = fs::remove_dir_all(&beside);
        return Err(io::Error::other(format!("Maven does not fetch Apache Kafka: {said}")));
    }
    if fs::rename(&beside, jars).is_err() {
        // Somebody was quicker.
        let _ = fs::remove_dir_all(&beside);
    }
    match is_complete(jars) {
        true => Ok(()),
        false => Err(io::Error::other(format!("there is no whole Kafka in {}: remove it", jars.display()))),
    }
}
