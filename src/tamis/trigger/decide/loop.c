/* Run the steps of a menu on one event after the other. The code between the steps runs for every event, and with cold caches after a
   model: here it touches a few cache lines of code and data, where the interpreter touches hundreds. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct {
    int path;
    long long ns;
} Limit;

typedef struct {
    uint64_t mask; /* bits of the paths that need it */
    PyObject *run;
    Py_ssize_t limits;
    Limit *limit;
} Step;

typedef struct {
    int64_t *ns;
    size_t held, room;
} Times;

typedef struct {
    PyObject_HEAD
    Py_ssize_t steps;
    Step *step;
    long long budget; /* of an event, in nanoseconds */
    Py_buffer spent;  /* a double per event */
    PyObject *over;   /* called with a path whose budget is exceeded (-1: that of the event); must raise */
    Py_ssize_t at;    /* the last step that was run */
    Times booked;     /* of steps: nanoseconds * steps + step */
    Times setups, wholes; /* of creating a frame and releasing the one before, and of whole events */
    long long on_path[64];
} EventLoop;

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int book(Times *times, int64_t ns) {
    if (times->held == times->room) {
        const size_t room = times->room ? 2 * times->room : 4096;
        int64_t *found = realloc(times->ns, room * sizeof *found);
        if (!found) {
            PyErr_NoMemory();
            return -1;
        }
        times->ns = found, times->room = room;
    }
    times->ns[times->held++] = ns;
    return 0;
}

static int exceeded(EventLoop *self, int path) {
    PyObject *found = PyObject_CallFunction(self->over, "i", path);
    if (found) {
        Py_DECREF(found);
        PyErr_SetString(PyExc_RuntimeError, "the function that is called when a budget is exceeded must raise");
    }
    return -1;
}

static int check(EventLoop *self, const Step *step, uint64_t alive, int64_t elapsed, int64_t spent) {
    if (spent > self->budget) return exceeded(self, -1);
    for (Py_ssize_t i = 0; i < step->limits; i++) {
        const Limit *limit = &step->limit[i];
        if (alive >> limit->path & 1 && (self->on_path[limit->path] += elapsed) > limit->ns) return exceeded(self, limit->path);
    }
    return 0;
}

/* Run the steps on an event; `alive` holds the bits of the paths that examine it, and afterwards of those that accept it. */
static int decide(EventLoop *self, PyObject *frame, PyObject *number, double *spent_ns, uint64_t *alive) {
    PyObject *arguments[] = {NULL, frame, number};
    int64_t spent = 0;
    int failed = 0;
    memset(self->on_path, 0, sizeof self->on_path);
    for (Py_ssize_t at = 0; at < self->steps && !failed; at++) {
        const Step *step = &self->step[at];
        if (!(*alive & step->mask)) continue;
        self->at = at;
        const int64_t start = now();
        PyObject *passed = PyObject_Vectorcall(step->run, arguments + 1, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
        const int64_t elapsed = now() - start;
        spent += elapsed;
        if (!passed) {
            PyObject *kind, *value, *trace; /* saved while the time is recorded */
            PyErr_Fetch(&kind, &value, &trace);
            if (book(&self->booked, elapsed * self->steps + at)) PyErr_Clear();
            PyErr_Restore(kind, value, trace);
            failed = -1;
            break;
        }
        const int ok = passed == Py_True;
        Py_DECREF(passed);
        failed = book(&self->booked, elapsed * self->steps + at);
        if (!ok) *alive &= ~step->mask;
        if (!failed && (step->limits || spent > self->budget)) failed = check(self, step, *alive, elapsed, spent);
    }
    *spent_ns = (double)spent;
    return failed;
}

/* Pass the exception to `fault`; one that does not derive from Exception, such as KeyboardInterrupt, propagates. */
static int fault(EventLoop *self, PyObject *number, PyObject *report) {
    if (!PyErr_ExceptionMatches(PyExc_Exception)) return -1;
    PyObject *kind, *value, *trace;
    PyErr_Fetch(&kind, &value, &trace);
    PyErr_NormalizeException(&kind, &value, &trace);
    if (trace) PyException_SetTraceback(value, trace);
    PyObject *done = PyObject_CallFunction(report, "OnO", number, self->at, value);
    Py_XDECREF(kind);
    Py_XDECREF(value);
    Py_XDECREF(trace);
    Py_XDECREF(done);
    return done ? 0 : -1;
}

typedef struct {
    PyObject *take, *keep, *fault, *before;
    int64_t *pulse;
} Callbacks;

/* Decide one event; `frame` is that of the event before, which is released. */
static int decide_one(EventLoop *self, const Callbacks *callbacks, PyObject *number, PyObject **frame, double *spent, uint64_t *alive) {
    const int64_t begin = now();
    if (callbacks->before != Py_None) {
        PyObject *found = PyObject_CallOneArg(callbacks->before, number);
        const int deadly = found ? PyObject_IsTrue(found) : -1;
        Py_XDECREF(found);
        if (deadly) {
            *alive = 0;
            PyObject *done = deadly < 0 ? NULL : PyObject_CallFunction(callbacks->fault, "OiO", number, -1, Py_None);
            Py_XDECREF(done);
            return done ? 0 : -1;
        }
    }
    if (callbacks->pulse) ++*callbacks->pulse;
    const int64_t start = now();
    PyObject *fresh = PyObject_CallOneArg(callbacks->take, number);
    if (!fresh) return -1;
    Py_XSETREF(*frame, fresh);
    if (book(&self->setups, now() - start)) return -1;
    if (decide(self, *frame, number, spent, alive)) {
        *alive = 0;
        if (fault(self, number, callbacks->fault)) return -1;
    }
    if (*alive) {
        PyObject *kept = PyObject_CallFunctionObjArgs(callbacks->keep, number, *frame, NULL);
        if (!kept) return -1;
        Py_DECREF(kept);
    }
    return book(&self->wholes, now() - begin);
}

static PyObject *run(EventLoop *self, PyObject *args) {
    Callbacks callbacks;
    PyObject *examined, *pulse, *frame = NULL;
    if (!PyArg_ParseTuple(args, "O!OOOOO", &PyList_Type, &examined, &callbacks.take, &callbacks.keep, &callbacks.fault, &callbacks.before, &pulse)) return NULL;
    const Py_ssize_t events = PyList_GET_SIZE(examined);
    if (events > self->spent.len / (Py_ssize_t)sizeof(double)) {
        PyErr_SetString(PyExc_ValueError, "there are more events than places for their times");
        return NULL;
    }
    Py_buffer view = {0};
    if (pulse != Py_None && PyObject_GetBuffer(pulse, &view, PyBUF_WRITABLE)) return NULL;
    callbacks.pulse = view.len == sizeof(int64_t) ? view.buf : NULL;
    PyObject *accepted = PyList_New(events);
    for (Py_ssize_t event = 0; accepted && event < events; event++) {
        uint64_t alive = PyLong_AsUnsignedLongLong(PyList_GET_ITEM(examined, event));
        PyObject *number = PyErr_Occurred() ? NULL : PyLong_FromSsize_t(event), *found = NULL;
        if (number && !decide_one(self, &callbacks, number, &frame, (double *)self->spent.buf + event, &alive)) found = PyLong_FromUnsignedLongLong(alive);
        Py_XDECREF(number);
        if (found)
            PyList_SET_ITEM(accepted, event, found);
        else
            Py_CLEAR(accepted);
    }
    Py_XDECREF(frame);
    if (view.obj) PyBuffer_Release(&view);
    return accepted;
}

static PyObject *bytes_of(const Times *times) {
    return PyBytes_FromStringAndSize((const char *)times->ns, (Py_ssize_t)(times->held * sizeof *times->ns));
}

static PyObject *times(EventLoop *self, PyObject *unused) {
    (void)unused;
    return Py_BuildValue("NNN", bytes_of(&self->booked), bytes_of(&self->setups), bytes_of(&self->wholes));
}

static int parse_step(Step *step, PyObject *arguments) {
    PyObject *run, *limits;
    unsigned long long mask;
    if (!PyArg_ParseTuple(arguments, "KOO!", &mask, &run, &PyTuple_Type, &limits)) return -1;
    step->mask = mask;
    step->run = Py_NewRef(run);
    step->limits = PyTuple_GET_SIZE(limits);
    step->limit = calloc((size_t)step->limits + 1, sizeof *step->limit);
    if (!step->limit) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < step->limits; i++) {
        Limit *limit = &step->limit[i];
        if (!PyArg_ParseTuple(PyTuple_GET_ITEM(limits, i), "iL", &limit->path, &limit->ns)) return -1;
        if (limit->path < 0 || limit->path > 63) {
            PyErr_SetString(PyExc_ValueError, "the numbers of paths must be from 0 to 63");
            return -1;
        }
    }
    return 0;
}

static void release_all(EventLoop *self) {
    PyObject_GC_UnTrack(self);
    for (Py_ssize_t i = 0; i < self->steps; i++) {
        Py_CLEAR(self->step[i].run);
        free(self->step[i].limit);
    }
    free(self->step);
    free(self->booked.ns);
    free(self->setups.ns);
    free(self->wholes.ns);
    if (self->spent.obj) PyBuffer_Release(&self->spent);
    Py_CLEAR(self->over);
    PyTypeObject *type = Py_TYPE(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static int visit_all(EventLoop *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    for (Py_ssize_t i = 0; i < self->steps; i++) Py_VISIT(self->step[i].run);
    Py_VISIT(self->over);
    return 0;
}

static PyObject *new_loop(PyTypeObject *type, PyObject *args, PyObject *names) {
    static char *keywords[] = {"steps", "budget", "spent", "over", NULL};
    PyObject *steps, *spent, *over;
    long long budget;
    if (!PyArg_ParseTupleAndKeywords(args, names, "O!LOO", keywords, &PyList_Type, &steps, &budget, &spent, &over)) return NULL;
    EventLoop *self = (EventLoop *)type->tp_alloc(type, 0);
    if (!self) return NULL;
    self->budget = budget;
    self->over = Py_NewRef(over);
    const Py_ssize_t many = PyList_GET_SIZE(steps);
    self->step = calloc((size_t)many + 1, sizeof *self->step);
    if (!self->step) PyErr_NoMemory();
    int failed = !self->step || PyObject_GetBuffer(spent, &self->spent, PyBUF_WRITABLE | PyBUF_C_CONTIGUOUS);
    if (!failed && self->spent.itemsize != sizeof(double)) {
        PyErr_SetString(PyExc_TypeError, "the times of events must be doubles");
        failed = 1;
    }
    for (; !failed && self->steps < many;) {
        failed = parse_step(&self->step[self->steps], PyList_GET_ITEM(steps, self->steps));
        self->steps++;
    }
    if (failed) Py_CLEAR(self);
    return (PyObject *)self;
}

static PyMethodDef methods[] = {
    {"run", (PyCFunction)run, METH_VARARGS, "Return the bits of the paths that accept each event."},
    {"times", (PyCFunction)times, METH_NOARGS, "Return the times of steps (nanoseconds * steps + step), of creating frames, and of whole events, as int64."},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot slots[] = {
    {Py_tp_new, new_loop}, {Py_tp_dealloc, release_all}, {Py_tp_traverse, visit_all}, {Py_tp_methods, methods}, {0, NULL},
};
static PyType_Spec spec = {"tamis_loop.EventLoop", sizeof(EventLoop), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, slots};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, .m_name = "tamis_loop", .m_size = -1};

PyMODINIT_FUNC PyInit_tamis_loop(void) {
    PyObject *result = PyModule_Create(&module), *type = result ? PyType_FromSpec(&spec) : NULL;
    if (!type || PyModule_AddObjectRef(result, "EventLoop", type)) Py_CLEAR(result);
    Py_XDECREF(type);
    return result;
}
