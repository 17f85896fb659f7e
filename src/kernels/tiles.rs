//! Products of bfloat16 matrices on the matrix unit of x86 (AMX), which server processors of Intel have had since 2023.

use std::marker::PhantomData;

use super::element::Bf16;

/// Rows and columns of a tile of results; it takes as many pairs of factors at a time.
pub const TILE: usize = 16;
/// Rows and columns of what one [`Multiply::add_products`] works on: two tiles each way.
pub const BLOCK: usize = 2 * TILE;
/// Factors that a tile holds for each of its rows.
pub const STEP: usize = 2 * TILE;

/// A product of matrices: (32, n) times (n, 32), n a multiple of [`STEP`].
pub struct Factors<'a> {
    /// Rows lie as far apart as the call says.
    pub left: &'a [Bf16],
    /// Each half has 16 columns, as (n / 2, 16, 2): the two are neighbouring rows.
    pub right: [&'a [Bf16]; 2],
}

/// Adds products of matrices to a block of sums.
pub trait Multiply {
    /// Adds each product to `sums` (32, 32). Rows of the left factors lie `pitch` elements apart, those of `sums` `width`.
    fn add_products<'a>(
        &self,
        factors: impl Iterator<Item = Factors<'a>>,
        pitch: usize,
        sums: &mut [f32],
        width: usize,
    );
}

/// The matrix unit of this machine.
#[derive(Clone, Copy, PartialEq)]
pub struct Unit(());

/// The matrix unit, set up on the thread that holds this, which cannot pass it on.
pub struct Tiles(PhantomData<*const ()>);

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
mod unit {
    use super::*;

    impl Unit {
        /// None: this is not the kind of machine that has one.
        pub fn find() -> Option<Self> {
            None
        }

        pub fn set_up(self) -> Tiles {
            unreachable!("there is no unit to set up")
        }
    }

    impl Multiply for Tiles {
        fn add_products<'a>(&self, _: impl Iterator<Item = Factors<'a>>, _: usize, _: &mut [f32], _: usize) {
            unreachable!("there are no tiles")
        }
    }
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod unit {
    use std::arch::asm;
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    use std::sync::OnceLock;

    use super::*;

    const BYTES: usize = 64; // of a tile's row

    /// What `ldtilecfg` reads: eight tiles of 16 rows (Intel's manual, volume 1, chapter 18).
    #[repr(C, align(64))]
    struct Shapes {
        palette: u8,
        start_row: u8,
        reserved: [u8; 14],
        bytes: [u16; 16],
        rows: [u8; 16],
    }

    impl Unit {
        /// The unit, if the processor has one for bfloat16 and the kernel lets this process use it.
        pub fn find() -> Option<Self> {
            static FOUND: OnceLock<bool> = OnceLock::new();
            FOUND.get_or_init(|| has_unit() && is_permitted()).then_some(Unit(()))
        }

        /// Sets the tiles up until what is returned is dropped.
        pub fn set_up(self) -> Tiles {
            let (mut bytes, mut rows) = ([0; 16], [0; 16]);
            bytes[..8].fill(BYTES as u16);
            rows[..8].fill(TILE as u8);
            let shapes = Shapes { palette: 1, start_row: 0, reserved: [0; 14], bytes, rows };
            // SAFETY: there is such a unit, and the shapes are whole. libtorch's own use of the unit looks at what is
            // loaded before it relies on it.
            unsafe { asm!("ldtilecfg [{}]", in(reg) &shapes, options(nostack, readonly)) };
            Tiles(PhantomData)
        }
    }

    impl Drop for Tiles {
        fn drop(&mut self) {
            // SAFETY: there is such a unit, or there were no tiles.
            unsafe { asm!("tilerelease", options(nostack, nomem)) };
        }
    }

    impl Multiply for Tiles {
        fn add_products<'a>(
            &self,
            factors: impl Iterator<Item = Factors<'a>>,
            pitch: usize,
            sums: &mut [f32],
            width: usize,
        ) {
            assert!(sums.len() >= (BLOCK - 1) * width + BLOCK);
            let above = sums.as_mut_ptr();
            // SAFETY: the tiles are set up on this thread, which the value cannot leave, all that is read and written lies in
            // the slices, and the compiler puts nothing of its own into tiles, so that they keep the sums from one block
            // to the next.
            unsafe {
                asm!(
                    "tileloadd tmm0, [{above} + {width}]",
                    "tileloadd tmm1, [{above} + {width} + 64]",
                    "tileloadd tmm2, [{below} + {width}]",
                    "tileloadd tmm3, [{below} + {width} + 64]",
                    above = in(reg) above,
                    below = in(reg) above.add(TILE * width),
                    width = in(reg) width * size_of::<f32>(),
                    options(nostack, readonly),
                );
                for Factors { left, right } in factors {
                    let steps = right[0].len() / (STEP * TILE);
                    if steps == 0 {
                        continue;
                    }
                    assert!(left.len() >= (BLOCK - 1) * pitch + steps * STEP);
                    assert!(right[1].len() >= steps * STEP * TILE);
                    let upper = left.as_ptr();
                    asm!(
                        "2:",
                        "tileloadd tmm4, [{upper} + {pitch}]",
                        "tileloadd tmm6, [{first} + {bytes}]",
                        "tileloadd tmm5, [{lower} + {pitch}]",
                        "tdpbf16ps tmm0, tmm4, tmm6",
                        "tileloadd tmm7, [{second} + {bytes}]",
                        "tdpbf16ps tmm2, tmm5, tmm6",
                        "tdpbf16ps tmm1, tmm4, tmm7",
                        "tdpbf16ps tmm3, tmm5, tmm7",
                        "add {upper}, 64",
                        "add {lower}, 64",
                        "add {first}, 1024",
                        "add {second}, 1024",
                        "dec {steps}",
                        "jnz 2b",
                        upper = inout(reg) upper => _,
                        lower = inout(reg) upper.add(TILE * pitch) => _,
                        pitch = in(reg) pitch * size_of::<Bf16>(),
                        first = inout(reg) right[0].as_ptr() => _,
                        second = inout(reg) right[1].as_ptr() => _,
                        bytes = in(reg) BYTES,
                        steps = inout(reg) steps => _,
                        options(nostack, readonly),
                    );
                }
                asm!(
                    "tilestored [{above} + {width}], tmm0",
                    "tilestored [{above} + {width} + 64], tmm1",
                    "tilestored [{below} + {width}], tmm2",
                    "tilestored [{below} + {width} + 64], tmm3",
                    above = in(reg) above,
                    below = in(reg) above.add(TILE * width),
                    width = in(reg) width * size_of::<f32>(),
                    options(nostack),
                );
            }
        }
    }

    fn has_unit() -> bool {
        const NEEDED: u32 = 1 << 22 | 1 << 24; // AMX-BF16 and AMX-TILE
                                               // SAFETY: every x86-64 has the instruction; a leaf is asked for only if there is one.
        #[allow(unused_unsafe)] // since Rust 1.93
        unsafe {
            __cpuid(0).eax >= 7 && __cpuid_count(7, 0).edx & NEEDED == NEEDED
        }
    }

    /// Linux lets a process use the tiles, 8 KB of registers, once it has asked.
    fn is_permitted() -> bool {
        const ARCH_PRCTL: isize = 158;
        const REQUEST: usize = 0x1023; // ARCH_REQ_XCOMP_PERM
        const TILE_DATA: usize = 18;
        let mut code = ARCH_PRCTL;
        // SAFETY: the call changes nothing but this permission; the kernel keeps all other registers but these two.
        unsafe {
            asm!("syscall", inout("rax") code, in("rdi") REQUEST, in("rsi") TILE_DATA, out("rcx") _, out("r11") _);
        }
        code == 0
    }
}

/// What the unit does, in loops.
#[cfg(test)]
pub struct Plain;

#[cfg(test)]
impl Multiply for Plain {
    fn add_products<'a>(
        &self,
        factors: impl Iterator<Item = Factors<'a>>,
        pitch: usize,
        sums: &mut [f32],
        width: usize,
    ) {
        use super::element::Element;
        for Factors { left, right } in factors {
            for (row, column) in (0..BLOCK).flat_map(|row| (0..BLOCK).map(move |column| (row, column))) {
                let pairs =
                    right[column / TILE].chunks_exact(2 * TILE).map(|pairs| &pairs[column % TILE * 2..][..2]);
                let factors = left[row * pitch..].iter().zip(pairs.flatten());
                sums[row * width + column] += factors.map(|(a, b)| a.value() * b.value()).sum::<f32>();
            }
        }
    }
}

/// Numbers to multiply, in bfloat16.
#[cfg(test)]
pub fn numbers(size: &[i64], step: f64) -> tch::Tensor {
    let count = size.iter().product::<i64>();
    let numbers = tch::Tensor::arange(count, (tch::Kind::Double, tch::Device::Cpu)) * step;
    numbers.sin().view(size).to_kind(tch::Kind::BFloat16)
}
