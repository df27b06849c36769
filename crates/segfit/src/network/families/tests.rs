use super::*;
use crate::cost;
