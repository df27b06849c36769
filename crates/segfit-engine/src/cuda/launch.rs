//! A kernel launch as data.

use super::kernels::THREADS;
use super::tensor::Tensor;

/// A kernel, its grid of blocks and the bytes of its one argument, a structure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Name in the kernels' source.
    pub kernel: &'static str,
    /// Blocks along x, y and z.
    pub grid: [u32; 3],
    /// The structure.
    pub parameters: Vec<u8>,
}

/// A launch whose scratch memory has no address yet.
#[derive(Clone, Debug)]
pub(super) struct Call {
    kernel: &'static str,
    grid: [u32; 3],
    arguments: Vec<Argument>,
}

#[derive(Clone, Copy, Debug)]
enum Argument {
    Address(u64),
    /// Bytes from the beginning of the scratch memory.
    Scratch(u64),
    Long(u64),
    Int(i32),
    Float(f32),
}

impl Call {
    /// A launch of `blocks` blocks along x, y and z; arguments follow in the order of the structure's fields.
    ///
    /// # Panics
    /// When there are 2^31 blocks or more along x, or 2^16 along y or z.
    pub fn new(kernel: &'static str, blocks: [usize; 3]) -> Self {
        assert!(blocks[0] < 1 << 31 && blocks[1] < 1 << 16 && blocks[2] < 1 << 16, "{kernel}: {blocks:?} blocks");
        Self { kernel, grid: blocks.map(|n| n as u32), arguments: Vec::new() }
    }

    /// With a thread for each of `count` values.
    pub fn for_each(kernel: &'static str, count: usize) -> Self {
        Self::new(kernel, [count.div_ceil(THREADS), 1, 1])
    }

    /// With a block for every run of `length` pixels of the planes of `tensor`.
    pub fn over(kernel: &'static str, tensor: &Tensor, length: usize) -> Self {
        Self::new(kernel, [tensor.planes() * tensor.pixels().div_ceil(length), 1, 1])
    }

    fn with(mut self, argument: Argument) -> Self {
        self.arguments.push(argument);
        self
    }

    pub fn address(self, address: u64) -> Self {
        self.with(Argument::Address(address))
    }

    pub fn scratch(self, offset: usize) -> Self {
        self.with(Argument::Scratch(offset as u64))
    }

    pub fn long(self, value: u64) -> Self {
        self.with(Argument::Long(value))
    }

    /// # Panics
    /// When the number is 2^31 or more.
    pub fn int(self, value: usize) -> Self {
        let value = i32::try_from(value).expect("sizes are checked before launches are made");
        self.with(Argument::Int(value))
    }

    pub fn ints<const N: usize>(self, values: [usize; N]) -> Self {
        values.into_iter().fold(self, Self::int)
    }

    pub fn flag(self, value: bool) -> Self {
        self.int(usize::from(value))
    }

    pub fn float(self, value: f32) -> Self {
        self.with(Argument::Float(value))
    }

    pub fn tensor(self, t: &Tensor) -> Self {
        self.address(t.address).ints([t.image, t.batch, t.channels, t.height, t.width, t.pixels()])
    }

    /// The launch, with its scratch memory at `scratch`.
    pub fn at(&self, scratch: u64) -> Launch {
        let mut bytes: Vec<u8> = Vec::new();
        let align = |bytes: &mut Vec<u8>, to: usize| bytes.resize(bytes.len().next_multiple_of(to), 0);
        for argument in &self.arguments {
            match *argument {
                Argument::Int(value) => bytes.extend(value.to_ne_bytes()),
                Argument::Float(value) => bytes.extend(value.to_ne_bytes()),
                Argument::Address(value) | Argument::Long(value) => {
                    align(&mut bytes, 8);
                    bytes.extend(value.to_ne_bytes());
                }
                Argument::Scratch(offset) => {
                    align(&mut bytes, 8);
                    bytes.extend((scratch + offset).to_ne_bytes());
                }
            }
        }
        align(&mut bytes, 8);
        Launch { kernel: self.kernel, grid: self.grid, parameters: bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_lie_where_c_puts_the_fields_of_a_structure() {
        let call = Call::new("fill", [3, 1, 1]).int(7).scratch(16).float(1.5).flag(true).address(9);
        let launch = call.int(2).at(0x100);
        let longs: Vec<u64> = launch.parameters.chunks(8).map(|b| u64::from_ne_bytes(b.try_into().unwrap())).collect();
        assert_eq!((launch.kernel, launch.grid), ("fill", [3, 1, 1]));
        assert_eq!(longs, [7, 0x110, u64::from(1.5_f32.to_bits()) | 1 << 32, 9, 2]);
    }
}
