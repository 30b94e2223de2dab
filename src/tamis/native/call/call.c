/* Compiled models as Python objects: a Program takes a sequence of arrays and returns a list of new ones; a Bound reads and writes
   fixed buffers. Arrays are checked here, so that no argument from Python can crash the process. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#define NPY_NO_DEPRECATED_API NPY_1_7_API_VERSION
#include <numpy/arrayobject.h>

#define PORTS 32 /* most inputs, and most outputs */
#define AXES 8   /* most axes of an array */

typedef void (*run_fn)(const float *w, float *s, const float *const *in, float *const *out, long n);
typedef struct {
    int axes;
    npy_intp dims[AXES];
    npy_intp elements; /* of one group */
} Form;

typedef struct Program {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    run_fn run;
    PyObject *weights, *error, *keep;
    const float *w;
    float *scratch;
    int busy; /* the scratch is in use */
    size_t scratch_floats;
    int inputs, outputs;
    Form in[PORTS], out[PORTS];
    long group;   /* rows of the leading axis in one group: the batch that the graph is fixed to; 0: there is no event axis */
    long release; /* calls of this many groups or more release the GIL */
    long piece;   /* groups between two checks for signals */
    long row;     /* of the sizes of an event, in the upper half of the number of groups that code is called with */
    struct Program *owner; /* of the scratch: this program, or one of the same code that never runs beside it for long */
} Program;

typedef struct {
    PyObject_HEAD
    vectorcallfunc vectorcall;
    Program *program;
    PyObject *arrays; /* kept alive */
    const float *in[PORTS];
    float *out[PORTS];
    long groups;
} Bound;

static PyTypeObject ProgramType, BoundType;

static float *aligned_floats(size_t count) {
    void *memory = NULL;
    return posix_memalign(&memory, 64, count * sizeof(float)) ? NULL : (float *)memory;
}

static int pieces(Program *self, float *scratch, const float **in, float **out, long groups, PyThreadState **state) {
    while (groups > 0) {
        const long now = groups < self->piece ? groups : self->piece;
        self->run(self->w, scratch, in, out, now | self->row << 32);
        groups -= now;
        if (!groups) break;
        for (int i = 0; i < self->inputs; i++) in[i] += now * self->in[i].elements;
        for (int i = 0; i < self->outputs; i++) out[i] += now * self->out[i].elements;
        PyEval_RestoreThread(*state);
        const int stopped = PyErr_CheckSignals();
        *state = PyEval_SaveThread();
        if (stopped) return -1;
    }
    return 0;
}

/* Run `groups` groups of events; `in` and `out` are advanced if that takes several pieces. */
static int run_groups(Program *self, const float **in, float **out, long groups) {
    Program *owner = self->owner;
    float *scratch = owner->scratch;
    int stopped = 0;
    const int own = __atomic_exchange_n(&owner->busy, 1, __ATOMIC_ACQUIRE); /* if another thread has the scratch, allocate one */
    if (own && !(scratch = aligned_floats(self->scratch_floats))) {
        PyErr_NoMemory();
        return -1;
    }
    if (groups < self->release) {
        self->run(self->w, scratch, in, out, groups | self->row << 32);
    } else {
        PyThreadState *state = PyEval_SaveThread();
        stopped = pieces(self, scratch, in, out, groups, &state);
        PyEval_RestoreThread(state);
    }
    if (own) free(scratch);
    else __atomic_store_n(&owner->busy, 0, __ATOMIC_RELEASE);
    return stopped;
}

/* Return the number of groups that an array holds, or -1 with an exception set. */
static long groups_of(Program *self, PyObject *item, const Form *form, const char *noun, int number) {
    if (!PyArray_Check(item)) {
        PyErr_Format(self->error, "%s %d is a %s; pass a numpy array of float32", noun, number, Py_TYPE(item)->tp_name);
        return -1;
    }
    PyArrayObject *array = (PyArrayObject *)item;
    if (PyArray_TYPE(array) != NPY_FLOAT32 || !PyArray_ISCARRAY_RO(array)) {
        PyErr_Format(self->error, "%s %d (dtype %R, contiguous: %s) must be native float32, contiguous and aligned", noun, number,
                     PyArray_DESCR(array), PyArray_IS_C_CONTIGUOUS(array) ? "yes" : "no");
        return -1;
    }
    const int lead = self->group ? 1 : 0;
    int fits = PyArray_NDIM(array) == form->axes && (!lead || form->axes > 0);
    for (int axis = lead; fits && axis < form->axes; axis++) fits = PyArray_DIM(array, axis) == form->dims[axis];
    if (fits && lead) fits = PyArray_DIM(array, 0) % self->group == 0;
    if (!fits) {
        PyObject *shape = PyObject_GetAttrString(item, "shape"), *expected = PyTuple_New(form->axes);
        for (int axis = 0; expected && axis < form->axes; axis++)
            PyTuple_SET_ITEM(expected, axis, axis < lead ? PyUnicode_FromFormat("%ld*N", self->group) : PyLong_FromSsize_t(form->dims[axis]));
        if (shape && expected) PyErr_Format(self->error, "%s %d has the shape %S, expected %S", noun, number, shape, expected);
        Py_XDECREF(shape);
        Py_XDECREF(expected);
        return -1;
    }
    return lead ? (long)(PyArray_DIM(array, 0) / self->group) : 1;
}

/* Check a sequence of arrays; return the number of groups that all of them hold, or -1 with an exception set. */
static long check_all(Program *self, PyObject *const *items, Py_ssize_t count, const Form *forms, int expected, const char *noun) {
    long groups = -1;
    if (count != expected) {
        PyErr_Format(self->error, "%zd %ss were passed, %d expected", count, noun, expected);
        return -1;
    }
    for (int i = 0; i < expected; i++) {
        const long held = groups_of(self, items[i], &forms[i], noun, i);
        if (held < 0) return -1;
        if (groups >= 0 && held != groups) {
            PyErr_Format(self->error, "%s %d holds %ld events, those before it %ld", noun, i, held, groups);
            return -1;
        }
        groups = held;
    }
    return groups;
}

static PyObject *new_output(Program *self, const Form *form, long groups) {
    npy_intp dims[AXES];
    memcpy(dims, form->dims, sizeof dims);
    if (self->group) dims[0] = groups * self->group;
    return PyArray_SimpleNew(form->axes, dims, NPY_FLOAT32);
}

static PyObject *program_call(PyObject *callable, PyObject *const *args, size_t flags, PyObject *names) {
    Program *self = (Program *)callable;
    if (PyVectorcall_NARGS(flags) != 1 || (names && PyTuple_GET_SIZE(names))) {
        PyErr_SetString(PyExc_TypeError, "a program takes one sequence of arrays");
        return NULL;
    }
    PyObject *sequence = PySequence_Fast(args[0], "a program takes a sequence of arrays");
    if (!sequence) return NULL;
    const float *in[PORTS];
    float *out[PORTS];
    PyObject *result = NULL, **items = PySequence_Fast_ITEMS(sequence);
    const long groups = check_all(self, items, PySequence_Fast_GET_SIZE(sequence), self->in, self->inputs, "input");
    if (groups < 0) goto end;
    PyObject *kept[PORTS]; /* another thread may change the list meanwhile */
    for (int i = 0; i < self->inputs; i++) {
        kept[i] = Py_NewRef(items[i]);
        in[i] = (const float *)PyArray_DATA((PyArrayObject *)items[i]);
    }
    result = PyList_New(self->outputs);
    for (int i = 0; result && i < self->outputs; i++) {
        PyObject *output = new_output(self, &self->out[i], groups);
        if (!output) {
            Py_CLEAR(result);
            break;
        }
        out[i] = (float *)PyArray_DATA((PyArrayObject *)output);
        PyList_SET_ITEM(result, i, output);
    }
    if (result && groups && run_groups(self, in, out, groups)) Py_CLEAR(result);
    for (int i = 0; i < self->inputs; i++) Py_DECREF(kept[i]);
end:
    Py_DECREF(sequence);
    return result;
}

static int overlap(PyObject *one, PyObject *other) {
    const char *a = PyArray_BYTES((PyArrayObject *)one), *b = PyArray_BYTES((PyArrayObject *)other);
    return a < b + PyArray_NBYTES((PyArrayObject *)other) && b < a + PyArray_NBYTES((PyArrayObject *)one);
}

static int bindable(Program *self, PyObject *arrays, PyObject *results) {
    PyObject **in = PySequence_Fast_ITEMS(arrays), **out = PySequence_Fast_ITEMS(results);
    for (int o = 0; o < self->outputs; o++) {
        if (!PyArray_ISWRITEABLE((PyArrayObject *)out[o])) {
            PyErr_Format(self->error, "output %d is read-only; pass a writable array", o);
            return 0;
        }
        for (int i = 0; i < self->inputs + o; i++) {
            if (overlap(out[o], i < self->inputs ? in[i] : out[i - self->inputs])) {
                PyErr_Format(self->error, "output %d shares memory with another buffer; pass separate arrays", o);
                return 0;
            }
        }
    }
    return 1;
}

static PyObject *bound_call(PyObject *callable, PyObject *const *args, size_t flags, PyObject *names) {
    Bound *self = (Bound *)callable;
    (void)args;
    if (PyVectorcall_NARGS(flags) || (names && PyTuple_GET_SIZE(names))) {
        PyErr_SetString(PyExc_TypeError, "a bound program takes no arguments");
        return NULL;
    }
    const float *in[PORTS];
    float *out[PORTS];
    memcpy(in, self->in, sizeof(*in) * self->program->inputs);
    memcpy(out, self->out, sizeof(*out) * self->program->outputs);
    Py_INCREF(self);
    const int stopped = self->groups ? run_groups(self->program, in, out, self->groups) : 0;
    Py_DECREF(self);
    if (stopped) return NULL;
    Py_RETURN_NONE;
}

static PyObject *program_bind(PyObject *me, PyObject *args) {
    Program *self = (Program *)me;
    PyObject *inputs, *outputs, *arrays = NULL, *results = NULL;
    Bound *bound = NULL;
    if (!PyArg_ParseTuple(args, "OO", &inputs, &outputs)) return NULL;
    arrays = PySequence_Tuple(inputs);
    results = PySequence_Tuple(outputs);
    if (!arrays || !results) goto end;
    const long n = check_all(self, PySequence_Fast_ITEMS(arrays), PyTuple_GET_SIZE(arrays), self->in, self->inputs, "input");
    if (n < 0) goto end;
    const long m = check_all(self, PySequence_Fast_ITEMS(results), PyTuple_GET_SIZE(results), self->out, self->outputs, "output");
    if (m < 0) goto end;
    if (n != m) {
        PyErr_Format(self->error, "the inputs hold %ld events, the outputs %ld", n * self->group, m * self->group);
        goto end;
    }
    if (!bindable(self, arrays, results)) goto end;
    bound = PyObject_New(Bound, &BoundType);
    if (!bound) goto end;
    bound->vectorcall = bound_call;
    bound->program = (Program *)Py_NewRef(self);
    bound->arrays = PyTuple_Pack(2, arrays, results);
    bound->groups = n;
    for (int i = 0; i < self->inputs; i++) bound->in[i] = (const float *)PyArray_DATA((PyArrayObject *)PyTuple_GET_ITEM(arrays, i));
    for (int i = 0; i < self->outputs; i++) bound->out[i] = (float *)PyArray_DATA((PyArrayObject *)PyTuple_GET_ITEM(results, i));
    if (!bound->arrays) Py_CLEAR(bound);
end:
    Py_XDECREF(arrays);
    Py_XDECREF(results);
    return (PyObject *)bound;
}

static int read_forms(PyObject *shapes, Form *forms, int *count) {
    *count = (int)PyTuple_GET_SIZE(shapes);
    if (*count < 1 || *count > PORTS) {
        PyErr_Format(PyExc_ValueError, "%d inputs or outputs; from 1 to %d are supported", *count, PORTS);
        return -1;
    }
    for (int i = 0; i < *count; i++) {
        PyObject *shape = PyTuple_GET_ITEM(shapes, i);
        if (!PyTuple_Check(shape) || PyTuple_GET_SIZE(shape) > AXES) {
            PyErr_Format(PyExc_ValueError, "shape %d is not a tuple of at most %d sizes", i, AXES);
            return -1;
        }
        forms[i].axes = (int)PyTuple_GET_SIZE(shape);
        forms[i].elements = 1;
        for (int axis = 0; axis < forms[i].axes; axis++) {
            const npy_intp size = PyLong_AsSsize_t(PyTuple_GET_ITEM(shape, axis));
            if (size < 0) {
                if (!PyErr_Occurred()) PyErr_Format(PyExc_ValueError, "shape %d has a negative size", i);
                return -1;
            }
            forms[i].dims[axis] = size;
            forms[i].elements *= size;
        }
    }
    return 0;
}

static PyObject *program_new(PyTypeObject *type, PyObject *args, PyObject *keywords) {
    static char *names[] = {"address", "keep", "weights", "scratch_floats", "inputs", "outputs", "group", "release", "piece", "error", "row", "shares", NULL};
    unsigned long long address;
    Py_ssize_t floats;
    long group, release, piece, row = 0;
    PyObject *keep, *weights, *inputs, *outputs, *error, *shares = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "KOO!nO!O!lllO|lO!", names, &address, &keep, &PyArray_Type, &weights, &floats, &PyTuple_Type,
                                     &inputs, &PyTuple_Type, &outputs, &group, &release, &piece, &error, &row, &ProgramType, &shares))
        return NULL;
    if (!address || floats < 1 || group < 0 || release < 1 || piece < 1 || row < 0 || row > INT32_MAX) {
        PyErr_SetString(PyExc_ValueError, "address, scratch_floats, release and piece must be at least 1, group and row at least 0");
        return NULL;
    }
    PyArrayObject *w = (PyArrayObject *)weights;
    if (PyArray_TYPE(w) != NPY_FLOAT32 || !PyArray_ISCARRAY_RO(w)) {
        PyErr_SetString(PyExc_ValueError, "the weights must be contiguous float32");
        return NULL;
    }
    Program *self = (Program *)type->tp_alloc(type, 0);
    if (!self) return NULL;
    self->vectorcall = program_call;
    self->run = (run_fn)(uintptr_t)address;
    self->weights = Py_NewRef(weights);
    self->error = Py_NewRef(error);
    self->keep = Py_NewRef(keep);
    self->w = (const float *)PyArray_DATA(w);
    self->scratch_floats = (size_t)floats;
    self->group = group;
    self->release = release;
    self->piece = piece;
    self->row = row;
    self->owner = shares ? ((Program *)Py_NewRef(shares))->owner : self;
    if (shares && shares != (PyObject *)self->owner) {
        Py_INCREF(self->owner);
        Py_DECREF(shares);
    }
    if (!shares) self->scratch = aligned_floats(self->scratch_floats);
    if (!shares && !self->scratch) PyErr_NoMemory();
    if ((!shares && !self->scratch) || read_forms(inputs, self->in, &self->inputs) || read_forms(outputs, self->out, &self->outputs)) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static void program_free(PyObject *me) {
    Program *self = (Program *)me;
    free(self->scratch);
    if (self->owner != self) Py_XDECREF(self->owner);
    Py_XDECREF(self->weights);
    Py_XDECREF(self->error);
    Py_XDECREF(self->keep);
    Py_TYPE(me)->tp_free(me);
}

static void bound_free(PyObject *me) {
    Bound *self = (Bound *)me;
    Py_XDECREF(self->program);
    Py_XDECREF(self->arrays);
    PyObject_Free(me);
}

static PyMethodDef program_methods[] = {
    {"bind", program_bind, METH_VARARGS, "Return a call that reads these inputs and writes these outputs in place."},
    {NULL, NULL, 0, NULL},
};
static PyTypeObject ProgramType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "tamis_call.Program",
    .tp_basicsize = sizeof(Program),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL,
    .tp_vectorcall_offset = offsetof(Program, vectorcall),
    .tp_call = PyVectorcall_Call,
    .tp_new = program_new,
    .tp_dealloc = program_free,
    .tp_methods = program_methods,
    .tp_doc = "A compiled model: takes a sequence of arrays, returns a list of arrays.",
};
static PyTypeObject BoundType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "tamis_call.Bound",
    .tp_basicsize = sizeof(Bound),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL,
    .tp_vectorcall_offset = offsetof(Bound, vectorcall),
    .tp_call = PyVectorcall_Call,
    .tp_dealloc = bound_free,
    .tp_doc = "A compiled model on fixed buffers.",
};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "tamis_call", NULL, -1, NULL, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_tamis_call(void) {
    import_array();
    if (PyType_Ready(&ProgramType) < 0 || PyType_Ready(&BoundType) < 0) return NULL;
    PyObject *result = PyModule_Create(&module);
    if (result && PyModule_AddObjectRef(result, "Program", (PyObject *)&ProgramType) < 0) Py_CLEAR(result);
    return result;
}
