//! The disk that the objects lie on is full, and later it is not.

use std::{fs::File, io::Write, path::PathBuf, process::Command};

use tempfile::TempDir;

use super::{
    Trial,
    crew::{Crew, FIVE},
    round::{Round, until},
};
use crate::place::Place;

/// Room for a job's objects, several times over.
const SIZE: &str = "512m";

/// What a service says whose object found no room.
const NO_ROOM: &str = "No space left on device";

/// Fills the disk in the middle of a job, waits until services say so, and frees it.
pub async fn full(trial: &mut Trial) {
    while trial.goes_on(trial.dose.faults) {
        let mut place = Place::embedded();
        let disk = match Disk::mount() {
            Ok(disk) => disk,
            Err(why) => return trial.skip(why),
        };
        place.keep_objects_in(&disk.folder.path().join("objects"));
        let crew = Crew::start(&place, &FIVE).await;
        let round = Round::begin(trial, place, crew).await;
        trial.moment(0.0..1.0).await;
        let flying = round.in_flight().await;
        if flying > 0 {
            let ballast = disk.fill();
            let no_room = || {
                let mut said = round.crew.members.iter().map(|one| one.process.said());
                said.any(|said| said.contains(NO_ROOM))
            };
            until(async || no_room() || round.is_over().await).await;
            let noticed = no_room();
            trial.moment(1.0..5.0).await;
            std::fs::remove_file(ballast).expect("it is ours");
            if noticed {
                trial.struck(format_args!(
                    "the objects' disk full with {flying} candidates in flight, and freed"
                ));
            }
        }
        round.end(trial).await;
    }
}

/// A small disk in memory; gone when it is dropped.
struct Disk {
    /// Of its own: it is removed when nothing is mounted there any more.
    folder: TempDir,
}

impl Disk {
    /// `Err`: why there can't be one on this machine.
    fn mount() -> Result<Self, String> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let size = format!("size={SIZE}");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "maskline-faults"])
            .arg(folder.path())
            .output();
        match mount {
            Ok(mount) if mount.status.success() => Ok(Self { folder }),
            Ok(mount) => {
                let why = String::from_utf8_lossy(&mount.stderr);
                Err(format!(
                    "no small disk can be mounted: run it as root ({})",
                    why.trim()
                ))
            }
            Err(error) => Err(format!("no small disk can be mounted: mount: {error}")),
        }
    }

    /// Writes a file that leaves no room. Returns it.
    fn fill(&self) -> PathBuf {
        let path = self.folder.path().join("ballast");
        let mut file = File::create(&path).expect("an empty file finds room");
        // First in large pieces, then to the last byte.
        for piece in [vec![0; 1 << 20], vec![0; 1 << 12], vec![0; 1]] {
            while file.write_all(&piece).is_ok() {}
        }
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount")
            .arg("--lazy")
            .arg(self.folder.path())
            .status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} is still mounted", self.folder.path().display());
        }
    }
}
