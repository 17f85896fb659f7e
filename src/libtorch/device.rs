//! Which device computes, and what it can do.

use tch::{Cuda, Device};

use crate::error::{unknown, Error, Result};
use crate::network::Precision;

/// "auto" (the first GPU, or the CPU), "cpu", "cuda", "cuda:1".
pub fn device(name: &str) -> Result<Device> {
    let index = match name {
        "auto" if Cuda::is_available() => 0,
        "auto" | "cpu" => return Ok(Device::Cpu),
        "cuda" => 0,
        other => match other.strip_prefix("cuda:").map(str::parse::<usize>) {
            Some(Ok(index)) => index,
            _ => return Err(unknown("device", name, &["auto", "cpu", "cuda", "cuda:0"])),
        },
    };
    if !Cuda::is_available() {
        return Err(Error::Device(format!(
            "device {name:?} was asked for, and torch sees no CUDA device here: use device=\"cpu\" or \"auto\", and \
             check the driver with `python -c \"import torch; print(torch.cuda.is_available())\"`"
        )));
    }
    let count = Cuda::device_count();
    match i64::try_from(index) {
        Ok(wanted) if wanted < count => Ok(Device::Cuda(index)),
        _ => Err(Error::Device(format!(
            "device {name:?} was asked for, and there are {count} CUDA devices here"
        ))),
    }
}

/// As in PyTorch: "cpu" or "cuda:0".
pub fn device_name(device: Device) -> String {
    match device {
        Device::Cuda(index) => format!("cuda:{index}"),
        _ => "cpu".to_string(),
    }
}

/// Refuses a number format that the device does not compute in at a speed worth having.
pub fn check_precision(precision: Precision, device: Device) -> Result<()> {
    match precision {
        Precision::BFloat16 if device == Device::Cpu && !cpu_has_bfloat16() => Err(Error::Device(
            "precision \"bfloat16\" needs a CPU with the instructions for it (avx512_bf16), which this one lacks: \
             without them it is tens of times slower than float32. Use precision=\"float32\"."
                .to_string(),
        )),
        Precision::Tf32 if device == Device::Cpu => Err(Error::Device(
            "precision \"tf32\" is a way in which NVIDIA GPUs compute float32, and the device is a CPU: use \
             precision=\"float32\""
                .to_string(),
        )),
        Precision::Float32 | Precision::BFloat16 | Precision::Tf32 => Ok(()),
    }
}

/// The number formats that `check_precision` does not refuse.
pub fn precisions(device: Device) -> Vec<Precision> {
    let mut all = vec![Precision::Float32, Precision::Tf32, Precision::BFloat16];
    all.retain(|&precision| check_precision(precision, device).is_ok());
    all
}

#[cfg(target_arch = "x86_64")]
fn cpu_has_bfloat16() -> bool {
    std::arch::is_x86_feature_detected!("avx512bf16")
}

#[cfg(not(target_arch = "x86_64"))]
fn cpu_has_bfloat16() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_understood_or_refused() {
        assert_eq!(device("cpu").unwrap(), Device::Cpu);
        assert!(device("gpu").unwrap_err().to_string().contains("unknown device"));
        assert!(device("cuda:99").is_err());
        assert!(device("cuda:-1").is_err());
        assert!(check_precision(Precision::Float32, Device::Cpu).is_ok());
        assert!(check_precision(Precision::Tf32, Device::Cuda(0)).is_ok());
        assert!(check_precision(Precision::Tf32, Device::Cpu).unwrap_err().to_string().contains("NVIDIA"));
        assert!(!precisions(Device::Cpu).contains(&Precision::Tf32));
        assert_eq!(precisions(Device::Cuda(0)), [Precision::Float32, Precision::Tf32, Precision::BFloat16]);
    }
}
