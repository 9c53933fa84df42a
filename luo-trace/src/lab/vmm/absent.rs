//! No virtual machines: the payload is x86-64 code.

use std::fs::File;

use anyhow::{Result, bail};

use super::{Load, Options};

/// What is never made here.
#[derive(Debug)]
pub enum Vm {}

impl Vm {
    pub fn create(_ram: &File, _vcpus: u32, _load: Load) -> Result<Self> {
        bail!("the lab has virtual machines on x86-64 only")
    }

    pub fn restore(_ram: &File, _state: &[u8], _options: Options) -> Result<Self> {
        bail!("the lab has virtual machines on x86-64 only")
    }

    pub fn resume(&self) -> Result<()> {
        match *self {}
    }

    pub fn interrupt(&self) -> Result<()> {
        match *self {}
    }

    pub fn pause(&self) -> Result<()> {
        match *self {}
    }

    pub fn save(&self) -> Result<Vec<u8>> {
        match *self {}
    }

    pub fn is_on_host_tsc(&self) -> Result<bool> {
        match *self {}
    }

    pub fn forget(&self) -> Result<()> {
        match *self {}
    }
}
