//! Devices by name.

use std::fmt;
use std::str::FromStr;

use super::spec::DeviceClass;

/// One device of this machine: `cpu`, `cuda:0`, `metal:0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceName {
    class: DeviceClass,
    number: usize,
}

/// A name that is none of a device.
#[derive(Debug, thiserror::Error)]
#[error("device `{0}` is unknown; use cpu, cuda:N or metal:N")]
pub struct UnknownDevice(String);

impl DeviceName {
    /// The processor.
    pub const CPU: Self = Self { class: DeviceClass::Cpu, number: 0 };

    /// Its kind, never [`DeviceClass::Any`].
    pub fn class(self) -> DeviceClass {
        self.class
    }

    /// The device `count` places after this one on the machine; a processor is one device.
    #[must_use]
    pub fn after(self, count: usize) -> Self {
        if self.class == DeviceClass::Cpu { self } else { Self { number: self.number + count, ..self } }
    }

    /// Its number among those of its kind.
    pub fn number(self) -> usize {
        self.number
    }
}

impl FromStr for DeviceName {
    type Err = UnknownDevice;

    /// Reads `cpu`, `cuda`, `cuda:N`, `metal` or `metal:N`; a missing number is 0.
    fn from_str(text: &str) -> Result<Self, UnknownDevice> {
        let (kind, number) = text.split_once(':').map_or((text, None), |(kind, number)| (kind, Some(number)));
        let class = match kind {
            "cpu" if number.is_none() => return Ok(Self::CPU),
            "cuda" => Some(DeviceClass::Cuda),
            "metal" => Some(DeviceClass::Metal),
            _ => None,
        };
        match (class, number.unwrap_or("0").parse()) {
            (Some(class), Ok(number)) => Ok(Self { class, number }),
            _ => Err(UnknownDevice(text.to_owned())),
        }
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.class {
            DeviceClass::Cuda => write!(f, "cuda:{}", self.number),
            DeviceClass::Metal => write!(f, "metal:{}", self.number),
            DeviceClass::Cpu | DeviceClass::Any => f.write_str("cpu"),
        }
    }
}
