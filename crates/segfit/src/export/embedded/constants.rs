//! The constants of a program: weights, scales, tables. Equal ones are kept once.

use std::collections::BTreeSet;

/// Values of one type.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    F32(Vec<f32>),
    I8(Vec<i8>),
    U8(Vec<u8>),
    I32(Vec<i32>),
}

impl Values {
    pub fn len(&self) -> usize {
        match self {
            Self::F32(v) => v.len(),
            Self::I8(v) => v.len(),
            Self::U8(v) => v.len(),
            Self::I32(v) => v.len(),
        }
    }

    fn bytes(&self) -> u64 {
        let each = if matches!(self, Self::F32(_) | Self::I32(_)) { 4 } else { 1 };
        each * self.len() as u64
    }
}

/// A named array.
#[derive(Clone, Debug, PartialEq)]
pub struct Constant {
    /// Lower case letters, digits and underscores.
    pub name: String,
    pub values: Values,
}

/// All of a program, in the order in which they were made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Constants {
    pub list: Vec<Constant>,
    names: BTreeSet<String>,
}

/// Index of a constant.
pub type ConstantId = usize;

impl Constants {
    /// Keeps values under a name made of `layer` and `what`, or finds equal ones.
    pub fn add(&mut self, layer: &str, what: &str, values: Values) -> ConstantId {
        if let Some(id) = self.list.iter().position(|c| c.values == values) {
            return id;
        }
        let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
        let stem: String = layer.chars().map(plain).chain(['_']).chain(what.chars()).collect();
        let mut name = stem.clone();
        for n in 2.. {
            if self.names.insert(name.clone()) {
                break;
            }
            name = format!("{stem}_{n}");
        }
        self.list.push(Constant { name, values });
        self.list.len() - 1
    }

    pub fn bytes(&self) -> u64 {
        self.list.iter().map(|c| c.values.bytes()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_kept_once_and_names_stay_apart() {
        let mut constants = Constants::default();
        let a = constants.add("enc0.conv1", "bias", Values::F32(vec![1.0, 2.0]));
        assert_eq!(constants.add("enc1.conv1", "bias", Values::F32(vec![1.0, 2.0])), a);
        constants.add("enc0/conv1", "bias", Values::F32(vec![3.0]));
        constants.add("Enc0.conv1", "bias", Values::I8(vec![3, 4, 5]));
        let names: Vec<&str> = constants.list.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["enc0_conv1_bias", "enc0_conv1_bias_2", "enc0_conv1_bias_3"]);
        assert_eq!(constants.bytes(), 8 + 4 + 3);
    }
}
