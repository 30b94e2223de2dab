/* One event after the other through the steps of a menu. What stands between the steps is paid for every event, and after a model has
   run it is paid from cold caches: here it is a few lines of code and of data, where an interpreter touches hundreds. */
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
    uint64_t mask; /* the paths that want it */
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
    PyObject *over;   /* called with the path whose time is over, -1 for the event's: raises */
    Py_ssize_t at;    /* the step that was done last */
    Times booked;     /* of steps: nanoseconds * steps + step */
    Times setups, wholes; /* of taking an event up and letting go of the one before, and of all of an event */
    long long on_path[64];
} Loop;

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

static int is_over(Loop *self, int path) {
    PyObject *found = PyObject_CallFunction(self->over, "i", path);
    if (found) {
        Py_DECREF(found);
        PyErr_SetString(PyExc_RuntimeError, "what is called when time is over has to raise");
    }
    return -1;
}

static int check(Loop *self, const Step *step, uint64_t alive, int64_t elapsed, int64_t spent) {
    if (spent > self->budget) return is_over(self, -1);
    for (Py_ssize_t i = 0; i < step->limits; i++) {
        const Limit *limit = &step->limit[i];
        if (alive >> limit->path & 1 && (self->on_path[limit->path] += elapsed) > limit->ns) return is_over(self, limit->path);
    }
    return 0;
}

/* Take an event through the steps; `alive` are the paths that want it, and then those that accept it. */
static int decide(Loop *self, PyObject *frame, PyObject *number, double *spent_ns, uint64_t *alive) {
    PyObject *given[] = {NULL, frame, number};
    int64_t spent = 0;
    int failed = 0;
    memset(self->on_path, 0, sizeof self->on_path);
    for (Py_ssize_t at = 0; at < self->steps && !failed; at++) {
        const Step *step = &self->step[at];
        if (!(*alive & step->mask)) continue;
        self->at = at;
        const int64_t start = now();
        PyObject *passed = PyObject_Vectorcall(step->run, given + 1, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
        const int64_t elapsed = now() - start;
        if (!passed) {
            PyObject *kind, *value, *trace; /* kept, while the time is booked */
            PyErr_Fetch(&kind, &value, &trace);
            if (book(&self->booked, elapsed * self->steps + at)) PyErr_Clear();
            PyErr_Restore(kind, value, trace);
            failed = -1;
            break;
        }
        const int ok = passed == Py_True;
        Py_DECREF(passed);
        spent += elapsed;
        failed = book(&self->booked, elapsed * self->steps + at);
        if (!ok) *alive &= ~step->mask;
        if (!failed && (step->limits || spent > self->budget)) failed = check(self, step, *alive, elapsed, spent);
    }
    *spent_ns = (double)spent;
    return failed;
}

/* Hand what was raised to Python; what is no Exception (Ctrl-C) goes on. */
static int fault(Loop *self, PyObject *number, PyObject *told) {
    if (!PyErr_ExceptionMatches(PyExc_Exception)) return -1;
    PyObject *kind, *value, *trace;
    PyErr_Fetch(&kind, &value, &trace);
    PyErr_NormalizeException(&kind, &value, &trace);
    if (trace) PyException_SetTraceback(value, trace);
    PyObject *done = PyObject_CallFunction(told, "OnO", number, self->at, value);
    Py_XDECREF(kind);
    Py_XDECREF(value);
    Py_XDECREF(trace);
    Py_XDECREF(done);
    return done ? 0 : -1;
}

typedef struct {
    PyObject *take, *keep, *fault, *before;
    int64_t *pulse;
} Doors;

/* Do one event; `frame` is the one before, which is let go. */
static int one(Loop *self, const Doors *doors, PyObject *number, PyObject **frame, double *spent, uint64_t *alive) {
    const int64_t begin = now();
    if (doors->before != Py_None) {
        PyObject *found = PyObject_CallOneArg(doors->before, number);
        const int deadly = found ? PyObject_IsTrue(found) : -1;
        Py_XDECREF(found);
        if (deadly) {
            *alive = 0;
            PyObject *done = deadly < 0 ? NULL : PyObject_CallFunction(doors->fault, "OiO", number, -1, Py_None);
            Py_XDECREF(done);
            return done ? 0 : -1;
        }
    }
    if (doors->pulse) ++*doors->pulse;
    const int64_t start = now();
    PyObject *fresh = PyObject_CallOneArg(doors->take, number);
    if (!fresh) return -1;
    Py_XSETREF(*frame, fresh);
    if (book(&self->setups, now() - start)) return -1;
    if (decide(self, *frame, number, spent, alive)) {
        *alive = 0;
        if (fault(self, number, doors->fault)) return -1;
    }
    if (*alive) {
        PyObject *kept = PyObject_CallFunctionObjArgs(doors->keep, number, *frame, NULL);
        if (!kept) return -1;
        Py_DECREF(kept);
    }
    return book(&self->wholes, now() - begin);
}

static PyObject *run(Loop *self, PyObject *args) {
    Doors doors;
    PyObject *wanted, *pulse, *frame = NULL;
    if (!PyArg_ParseTuple(args, "O!OOOOO", &PyList_Type, &wanted, &doors.take, &doors.keep, &doors.fault, &doors.before, &pulse)) return NULL;
    const Py_ssize_t events = PyList_GET_SIZE(wanted);
    if (events > self->spent.len / (Py_ssize_t)sizeof(double)) {
        PyErr_SetString(PyExc_ValueError, "there is no place for the times of so many events");
        return NULL;
    }
    Py_buffer view = {0};
    if (pulse != Py_None && PyObject_GetBuffer(pulse, &view, PyBUF_WRITABLE)) return NULL;
    doors.pulse = view.len == sizeof(int64_t) ? view.buf : NULL;
    PyObject *accepted = PyList_New(events);
    for (Py_ssize_t event = 0; accepted && event < events; event++) {
        uint64_t alive = PyLong_AsUnsignedLongLong(PyList_GET_ITEM(wanted, event));
        PyObject *number = PyErr_Occurred() ? NULL : PyLong_FromSsize_t(event), *found = NULL;
        if (number && !one(self, &doors, number, &frame, (double *)self->spent.buf + event, &alive)) found = PyLong_FromUnsignedLongLong(alive);
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

static PyObject *times(Loop *self, PyObject *unused) {
    (void)unused;
    return Py_BuildValue("NNN", bytes_of(&self->booked), bytes_of(&self->setups), bytes_of(&self->wholes));
}

static int take_step(Step *step, PyObject *given) {
    PyObject *run, *limits;
    unsigned long long mask;
    if (!PyArg_ParseTuple(given, "KOO!", &mask, &run, &PyTuple_Type, &limits)) return -1;
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
            PyErr_SetString(PyExc_ValueError, "paths are numbered from 0 to 63");
            return -1;
        }
    }
    return 0;
}

static void let_go(Loop *self) {
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

static int visit_all(Loop *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    for (Py_ssize_t i = 0; i < self->steps; i++) Py_VISIT(self->step[i].run);
    Py_VISIT(self->over);
    return 0;
}

static PyObject *make(PyTypeObject *type, PyObject *args, PyObject *names) {
    static char *known[] = {"steps", "budget", "spent", "over", NULL};
    PyObject *steps, *spent, *over;
    long long budget;
    if (!PyArg_ParseTupleAndKeywords(args, names, "O!LOO", known, &PyList_Type, &steps, &budget, &spent, &over)) return NULL;
    Loop *self = (Loop *)type->tp_alloc(type, 0);
    if (!self) return NULL;
    self->budget = budget;
    self->over = Py_NewRef(over);
    const Py_ssize_t many = PyList_GET_SIZE(steps);
    self->step = calloc((size_t)many + 1, sizeof *self->step);
    if (!self->step) PyErr_NoMemory();
    int failed = !self->step || PyObject_GetBuffer(spent, &self->spent, PyBUF_WRITABLE | PyBUF_C_CONTIGUOUS);
    if (!failed && self->spent.itemsize != sizeof(double)) {
        PyErr_SetString(PyExc_TypeError, "the times of events are doubles");
        failed = 1;
    }
    for (; !failed && self->steps < many;) {
        failed = take_step(&self->step[self->steps], PyList_GET_ITEM(steps, self->steps));
        self->steps++;
    }
    if (failed) Py_CLEAR(self);
    return (PyObject *)self;
}

static PyMethodDef methods[] = {
    {"run", (PyCFunction)run, METH_VARARGS, "Return the paths that accept each event."},
    {"times", (PyCFunction)times, METH_NOARGS, "Return the times of steps (nanoseconds * steps + step), of taking events up, and of events, as int64."},
    {NULL, NULL, 0, NULL},
};
static PyType_Slot slots[] = {
    {Py_tp_new, make}, {Py_tp_dealloc, let_go}, {Py_tp_traverse, visit_all}, {Py_tp_methods, methods}, {0, NULL},
};
static PyType_Spec spec = {"tamis_loop.Loop", sizeof(Loop), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC, slots};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, .m_name = "tamis_loop", .m_size = -1};

PyMODINIT_FUNC PyInit_tamis_loop(void) {
    PyObject *made = PyModule_Create(&module), *type = made ? PyType_FromSpec(&spec) : NULL;
    if (!type || PyModule_AddObjectRef(made, "Loop", type)) Py_CLEAR(made);
    Py_XDECREF(type);
    return made;
}
