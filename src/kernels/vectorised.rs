//! One loop, compiled for several sets of vector instructions.

/// Defines a function whose body is compiled twice, once for AVX2, which nearly every machine has, and once for any. A call
/// takes the first that the machine can run.
macro_rules! vectorised {
    ($(#[$doc:meta])* $visible:vis fn $name:ident<T: Element>($($arg:ident: $type:ty),* $(,)?) $(-> $out:ty)? $body:block) => {
        $(#[$doc])*
        #[allow(clippy::too_many_arguments)]
        $visible fn $name<T: Element>($($arg: $type),*) $(-> $out)? {
            #[inline(always)]
            #[allow(clippy::too_many_arguments)]
            fn any<T: Element>($($arg: $type),*) $(-> $out)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma")]
                #[allow(clippy::too_many_arguments)]
                unsafe fn wide<T: Element>($($arg: $type),*) $(-> $out)? {
                    any::<T>($($arg),*)
                }
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                    // SAFETY: the machine has the instructions.
                    return unsafe { wide::<T>($($arg),*) };
                }
            }
            any::<T>($($arg),*)
        }
    };
}

pub(super) use vectorised;
