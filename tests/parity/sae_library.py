"""The C library's SAEs and trainer, driven through ctypes."""
import ctypes as c

import numpy as np

FLOATS = c.POINTER(c.c_float)
NAMES = ("w_enc", "w_dec", "b_dec", "b_enc", "threshold", "b_gate", "b_mag", "r_mag")
STANDARD, TOPK, JUMPRELU, GATED = range(4)


class Err(c.Structure):
    _fields_ = [("code", c.c_int), ("msg", c.c_char * 512)]


class Config(c.Structure):
    _fields_ = [("d_in", c.c_int), ("d_sae", c.c_int), ("apply_b_dec_to_input", c.c_int),
                ("architecture", c.c_int), ("k", c.c_int), ("rescale_acts_by_decoder_norm", c.c_int),
                ("trained_as", c.c_char * 24), ("model_name", c.c_char * 128), ("hook_name", c.c_char * 64),
                ("context_size", c.c_int), ("prepend_bos", c.c_int)]


class Mat(c.Structure):
    _fields_ = [("data", c.c_void_p), ("dtype", c.c_int), ("rows", c.c_size_t), ("cols", c.c_size_t), ("bits", c.c_int),
                ("group", c.c_size_t), ("scales", c.c_void_p), ("steps", c.c_void_p)]


class Model(c.Structure):
    _fields_ = [("cfg", Config), ("w_enc", FLOATS), ("w_dec", FLOATS), ("b_dec", FLOATS), ("b_enc", FLOATS),
                ("threshold", FLOATS), ("b_gate", FLOATS), ("b_mag", FLOATS), ("r_mag", FLOATS), ("block", FLOATS),
                ("memory", c.c_void_p), ("encoder", Mat), ("rounded", c.c_void_p), ("screened", c.c_void_p)]


class Opts(c.Structure):
    _fields_ = [("arch", c.c_int), ("convention", c.c_int), ("batch", c.c_int), ("lr", c.c_float), ("beta1", c.c_float), ("beta2", c.c_float),
                ("adam_eps", c.c_float), ("l1", c.c_float), ("l1_warmup_steps", c.c_int),
                ("lr_warmup_steps", c.c_int), ("lr_decay_steps", c.c_int), ("total_steps", c.c_int),
                ("clip", c.c_float), ("unit_norm_decoder", c.c_int), ("init_norm", c.c_float),
                ("dead_window", c.c_int), ("resample", c.c_int), ("seed", c.c_uint64), ("k", c.c_float), ("aux", c.c_float),
                ("threshold_lr", c.c_float), ("l0_penalty", c.c_int), ("target_l0", c.c_float), ("bandwidth", c.c_float),
                ("init_threshold", c.c_float), ("tanh_scale", c.c_float), ("threshold_speed", c.c_float),
                ("ste_to_input", c.c_int), ("pre_act", c.c_float),
                ("n_widths", c.c_int), ("widths", c.c_int * 12), ("threshold_start", c.c_int), ("screen", c.c_int)]


class Exec(c.Structure):
    _fields_ = [("k", c.c_void_p), ("threads", c.c_int), ("room", c.c_void_p)]


class Metrics(c.Structure):
    _fields_ = [(name, c.c_double) for name in ("mse", "l1", "l0", "loss", "fve")] + [("dead", c.c_int), ("penalty", c.c_double),
                                                                                         ("aux", c.c_double)]


def load(build):
    """libscalpel of the build directory, its functions declared."""
    library = c.CDLL(str(build / "libscalpel.so"))
    library.tn_exec_make.restype = Exec
    library.tn_exec_make.argtypes = [c.c_char_p, c.c_int]
    library.sae_train_defaults.restype = Opts
    library.sae_encode_scratch.argtypes = [c.c_void_p, c.c_int]
    library.sae_encode_scratch.restype = c.c_size_t
    library.sae_encode.argtypes = [c.c_void_p, Exec, c.c_void_p, c.c_int, c.c_void_p, c.c_void_p]
    library.sae_encode.restype = None
    library.sae_decode.argtypes = [c.c_void_p, Exec, c.c_void_p, c.c_int, c.c_void_p]
    library.sae_decode.restype = None
    library.sae_trainer_save.argtypes = [c.c_void_p, c.c_char_p, c.c_void_p, c.c_size_t, c.c_void_p]
    library.sae_trainer_free.argtypes = [c.c_void_p]
    library.sae_trainer_new.argtypes = [c.c_void_p, c.c_void_p, c.c_void_p, Exec, c.c_void_p]
    library.sae_train_step.argtypes = [c.c_void_p, c.c_void_p, c.c_int, c.c_void_p, c.c_void_p]
    return library


def check(code, err):
    assert code == 0, err.msg.decode()


def address(array):
    return array.ctypes.data_as(c.c_void_p)


class Sae:
    """A sae_model; its parameters as numpy views, both matrices [F, D]."""

    def __init__(self, lib, d=0, f=0, apply=1, directory=None, architecture=STANDARD, k=0):
        self.lib, self.model, err = lib, Model(), Err()
        if directory:
            check(lib.sae_open_dir(c.byref(self.model), str(directory).encode(), c.byref(err)), err)
        else:
            cfg = Config(d, f, apply, architecture, k, 0, b"", b"test/model", b"blocks.3.hook_resid_post", 128)
            check(lib.sae_new(c.byref(self.model), c.byref(cfg), c.byref(err)), err)
        cfg = self.model.cfg
        shapes = {"w_enc": (cfg.d_sae, cfg.d_in), "w_dec": (cfg.d_sae, cfg.d_in), "b_enc": (cfg.d_sae,),
                  "b_dec": (cfg.d_in,)}
        shapes |= {name: (cfg.d_sae,) for name in ("threshold", "b_gate", "b_mag", "r_mag")}
        for name, shape in shapes.items():
            if getattr(self.model, name):
                setattr(self, name, np.ctypeslib.as_array(getattr(self.model, name), shape))

    def set(self, values):
        for name, value in values.items():
            getattr(self, name)[:] = value

    def encode(self, x):
        z = np.empty((len(x), self.model.cfg.d_sae), np.float32)
        scratch = np.empty(self.lib.sae_encode_scratch(c.byref(self.model), len(x)), np.uint8)
        self.lib.sae_encode(c.byref(self.model), self.lib.tn_exec_make(None, 2), address(x), len(x), address(z),
                            address(scratch))
        return z

    def decode(self, z):
        out = np.empty((len(z), self.model.cfg.d_in), np.float32)
        self.lib.sae_decode(c.byref(self.model), self.lib.tn_exec_make(None, 2), address(z), len(z), address(out))
        return out

    def save(self, directory):
        err = Err()
        check(self.lib.sae_save_dir(c.byref(self.model), str(directory).encode(), None, c.byref(err)), err)

    def train(self, batches, state=None, **options):
        """Steps over the batches; the loss of each. The training state then goes into the file `state`."""
        opts, trainer, err, metrics = self.lib.sae_train_defaults(), c.c_void_p(), Err(), Metrics()
        plain = dict(batch=len(batches[0]), l1_warmup_steps=0, lr_warmup_steps=0, lr_decay_steps=0, total_steps=0)
        for name, value in (plain | options).items():
            if isinstance(value, tuple):
                getattr(opts, name)[:len(value)] = value
            else:
                setattr(opts, name, value)
        check(self.lib.sae_trainer_new(c.byref(trainer), c.byref(self.model), c.byref(opts),
                                       self.lib.tn_exec_make(None, 2), c.byref(err)), err)
        losses = []
        for x in batches:
            check(self.lib.sae_train_step(trainer, address(x), len(x), c.byref(metrics), c.byref(err)), err)
            losses.append(metrics.loss)
        if state:
            check(self.lib.sae_trainer_save(trainer, str(state).encode(), None, 0, c.byref(err)), err)
        self.lib.sae_trainer_free(trainer)
        return losses
