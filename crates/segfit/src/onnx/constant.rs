//! Tensors that are known without an image: weights, and the whole numbers that shapes are computed with.

use super::proto::{EXTERNAL, TensorProto, data_type};

/// More elements than any sensible constant has that is computed (not stored) in a file.
const MOST_COMPUTED: usize = 1 << 26;

/// A constant tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Constant {
    pub dims: Vec<usize>,
    pub data: Data,
}

/// Its values. Truth values are the numbers 0 and 1.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    Float(Vec<f32>),
    Int(Vec<i64>),
}

impl Constant {
    /// A list of whole numbers.
    pub fn ints(values: Vec<i64>) -> Self {
        Self { dims: vec![values.len()], data: Data::Int(values) }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        match &self.data {
            Data::Float(v) => v.len(),
            Data::Int(v) => v.len(),
        }
    }

    /// As floats; whole numbers are converted.
    pub fn to_floats(&self) -> Vec<f32> {
        match &self.data {
            Data::Float(v) => v.clone(),
            Data::Int(v) => v.iter().map(|&n| n as f32).collect(),
        }
    }

    /// As whole numbers; floats are cut off at the decimal point, as the operator Cast does.
    pub fn to_ints(&self) -> Vec<i64> {
        match &self.data {
            Data::Float(v) => v.iter().map(|&x| x as i64).collect(),
            Data::Int(v) => v.clone(),
        }
    }

    /// The tensor stored in a file. Doubles and half floats become floats.
    ///
    /// # Errors
    /// The reason, when the values are elsewhere, of an unknown type, or not as many as the shape says.
    pub fn from_proto(tensor: &TensorProto) -> Result<Self, String> {
        if tensor.data_location == EXTERNAL || !tensor.external_data.is_empty() {
            return Err("its values are in another file (external data); export with external_data=False".into());
        }
        let dims = tensor.dims.iter().map(|&n| usize::try_from(n)).collect::<Result<Vec<_>, _>>();
        let dims = dims.map_err(|_| format!("its shape {:?} has a negative number", tensor.dims))?;
        let data = if tensor.raw_data.is_empty() { typed(tensor)? } else { raw(tensor)? };
        let constant = Self { dims, data };
        match elements(&constant.dims) {
            Some(n) if n == constant.len() => Ok(constant),
            _ => Err(format!("its shape is {:?} but {} values are stored", tensor.dims, constant.len())),
        }
    }
}

/// The number of elements of a shape; `None` where it cannot be counted.
pub fn elements(dims: &[usize]) -> Option<usize> {
    // Without the zeros first, so that no part of the product overflows either.
    let most = dims.iter().try_fold(1_usize, |product, &n| product.checked_mul(n.max(1)))?;
    Some(if dims.contains(&0) { 0 } else { most })
}

/// The number of elements of a constant that is about to be computed.
///
/// # Errors
/// When it is too large.
pub fn computed_elements(dims: &[usize]) -> Result<usize, String> {
    elements(dims).filter(|&n| n <= MOST_COMPUTED).ok_or_else(|| format!("a constant of shape {dims:?} is too large"))
}

fn typed(tensor: &TensorProto) -> Result<Data, String> {
    let ints = || tensor.int32_data.iter().map(|&n| i64::from(n)).collect();
    Ok(match tensor.data_type {
        data_type::FLOAT => Data::Float(tensor.float_data.clone()),
        data_type::DOUBLE => Data::Float(tensor.double_data.iter().map(|&x| x as f32).collect()),
        data_type::FLOAT16 => Data::Float(tensor.int32_data.iter().map(|&n| half(n as u16)).collect()),
        data_type::BFLOAT16 => Data::Float(tensor.int32_data.iter().map(|&n| brain(n as u16)).collect()),
        data_type::INT64 => Data::Int(tensor.int64_data.clone()),
        data_type::UINT32 | data_type::UINT64 => {
            Data::Int(tensor.uint64_data.iter().map(|&n| i64::try_from(n).unwrap_or(i64::MAX)).collect())
        }
        data_type::INT32
        | data_type::INT16
        | data_type::INT8
        | data_type::UINT16
        | data_type::UINT8
        | data_type::BOOL => Data::Int(ints()),
        other => return Err(unknown(other)),
    })
}

fn raw(tensor: &TensorProto) -> Result<Data, String> {
    let bytes = &tensor.raw_data;
    Ok(match tensor.data_type {
        data_type::FLOAT => Data::Float(chunks(bytes, f32::from_le_bytes)?),
        data_type::DOUBLE => Data::Float(chunks(bytes, |b| f64::from_le_bytes(b) as f32)?),
        data_type::FLOAT16 => Data::Float(chunks(bytes, |b| half(u16::from_le_bytes(b)))?),
        data_type::BFLOAT16 => Data::Float(chunks(bytes, |b| brain(u16::from_le_bytes(b)))?),
        data_type::INT64 => Data::Int(chunks(bytes, i64::from_le_bytes)?),
        data_type::UINT64 => Data::Int(chunks(bytes, |b| i64::try_from(u64::from_le_bytes(b)).unwrap_or(i64::MAX))?),
        data_type::INT32 => Data::Int(chunks(bytes, |b| i64::from(i32::from_le_bytes(b)))?),
        data_type::UINT32 => Data::Int(chunks(bytes, |b| i64::from(u32::from_le_bytes(b)))?),
        data_type::INT16 => Data::Int(chunks(bytes, |b| i64::from(i16::from_le_bytes(b)))?),
        data_type::UINT16 => Data::Int(chunks(bytes, |b| i64::from(u16::from_le_bytes(b)))?),
        data_type::INT8 => Data::Int(bytes.iter().map(|&b| i64::from(b.cast_signed())).collect()),
        data_type::UINT8 | data_type::BOOL => Data::Int(bytes.iter().map(|&b| i64::from(b)).collect()),
        other => return Err(unknown(other)),
    })
}

fn chunks<T, const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> T) -> Result<Vec<T>, String> {
    let (whole, rest) = bytes.as_chunks::<N>();
    if rest.is_empty() { Ok(whole.iter().map(|b| read(*b)).collect()) } else { Err("its last value is cut off".into()) }
}

fn unknown(kind: i32) -> String {
    format!("its values are of ONNX data type {kind}, which is not read")
}

/// IEEE 754 half precision: 1 sign, 5 exponent and 10 fraction bits.
fn half(bits: u16) -> f32 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let exponent = i32::from(bits >> 10 & 31);
    let fraction = f32::from(bits & 1023) / 1024.0;
    sign * match exponent {
        0 => fraction * 2_f32.powi(-14),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (1.0 + fraction) * 2_f32.powi(exponent - 15),
    }
}

/// The upper half of a float.
fn brain(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_floats_are_those_of_ieee_754() {
        assert_eq!(half(0x3c00), 1.0);
        assert_eq!(half(0xc000), -2.0);
        assert_eq!(half(0x7bff), 65504.0);
        assert_eq!(half(0x0001), 2_f32.powi(-24), "the smallest subnormal number");
        assert!(half(0x7c00).is_infinite() && half(0x7e00).is_nan());
        assert_eq!(brain(0x3fc0), 1.5);
    }

    #[test]
    fn a_shape_that_claims_more_than_is_stored_is_refused_before_memory_is_taken() {
        let mut tensor = TensorProto {
            dims: vec![1 << 40, 1 << 40],
            data_type: data_type::FLOAT,
            raw_data: vec![0; 8],
            ..Default::default()
        };
        assert!(Constant::from_proto(&tensor).unwrap_err().contains("2 values are stored"));
        tensor.dims = vec![-1];
        assert!(Constant::from_proto(&tensor).unwrap_err().contains("negative"));
        tensor.raw_data.pop();
        tensor.dims = vec![2];
        assert!(Constant::from_proto(&tensor).unwrap_err().contains("cut off"));
        assert!(computed_elements(&[1 << 20, 1 << 20]).is_err());
    }
}
