/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The items of a configuration, and the lines that are saved of them.
 *
 * liblxc has both, and they are to say the same: what is in memory, what is saved, what
 * another handle reads from that and what a start makes of it.  liblxc itself adds a
 * line with every set, and takes away those of exactly the key that is cleared.  So
 * here
 *   - an item that is set anew is cleared first, even where it reads as empty;
 *   - the type of an interface, which empties its other items in memory, takes their
 *     lines away as well, and comes before those that follow;
 *   - what is cleared but comes from an included file gets a line that clears it.
 */
#include "items.h"

#include "convert.h"
#include "handle.h"
#include "journal.h"
#include "lock.h"
#include "reasons.h"
#include "room.h"
#include "work.h"

#include <stdlib.h>
#include <string.h>

/* --- Keys --------------------------------------------------------------------- */

#define NET "lxc.net."

/* Of "lxc.net.3.type" the "lxc.net.3", its number and "type", or NULL for that. */
struct interface {
    char key[32];
    unsigned int number;
    const char *item;
};

static bool
is_of_interface(const char *key, struct interface *interface)
{
    const char *digits = key + strlen(NET);
    size_t length;

    if (strncmp(key, NET, strlen(NET)) != 0)
        return false;
    length = strspn(digits, "0123456789");
    if (length == 0 || length > 9 || (digits[length] != '\0' && digits[length] != '.'))
        return false;
    snprintf(interface->key, sizeof(interface->key), NET "%.*s", (int)length, digits);
    interface->number = (unsigned int)strtoul(digits, NULL, 10);
    interface->item = digits[length] == '.' ? digits + length + 1 : NULL;
    return true;
}

static bool
has_interface(struct lxc_container *c, const char *key)
{
    return c->get_keys(c, key, NULL, 0) > 0;
}

/* --- Single calls ------------------------------------------------------------- */

static bool
set_one(Container *self, const char *key, const char *value)
{
    const bool ok = config_set(self->c, key, value);

    if (ok)
        journal_note(self, NOTE_SET, key, value);
    return ok;
}

/* liblxc (4.0.6 and 5.0.2) goes on using the entry for root of an lxc.idmap that has
 * been freed, where that is cleared while there is none. */
static bool
is_empty_idmap(struct lxc_container *c, const char *key)
{
    return strcmp(key, "lxc.idmap") == 0 && c->get_config_item(c, key, NULL, 0) <= 0;
}

static bool
clear_one(Container *self, const char *key)
{
    if (is_empty_idmap(self->c, key))
        return true;
    if (!self->c->clear_config_item(self->c, key))
        return false;
    journal_note(self, NOTE_CLEAR, key, NULL);
    return true;
}

static bool
is_there(struct lxc_container *c, const char *key)
{
    return c->get_config_item(c, key, NULL, 0) > 0;
}

static bool
is_same(const char *one, const char *other)
{
    return one == other || (one != NULL && other != NULL && strcmp(one, other) == 0);
}

/* What liblxc clears to another value than an item has that was never set, of an
 * interface without its number.  (lxc.tty.max even stays as it was.) */
static const char *const not_reset[] = {
    "lxc.autodev.tmpfs.size",
    "lxc.monitor.signal.pdeath",
    "lxc.rootfs.mount",
    "lxc.tty.max",
    "ipvlan.isolation",
    "ipvlan.mode",
    "macvlan.mode",
    "veth.mode",
    "name",
};

/* A configuration in which nothing is set but the type of that interface. */
static struct lxc_container *
open_blank(const char *type_key, const char *type)
{
    struct lxc_container *blank = lxc_container_new("no-such-container", NULL);

    if (blank == NULL)
        return NULL;
    blank->clear_config(blank);
    blank->set_config_item(blank, "lxc.uts.name", "x"); /* it reads nothing before */
    if (type != NULL)
        blank->set_config_item(blank, type_key, type);
    return blank;
}

/* Give an item that was cleared the value that it has by itself; whether that had to be
 * done. */
static bool
reset(Container *self, const char *key)
{
    const char *item = key;
    struct interface interface;
    char type_key[48] = "", *type = NULL, *now, *normal = NULL;
    struct lxc_container *blank;
    bool known = false;

    if (is_of_interface(key, &interface) && interface.item != NULL) {
        item = interface.item;
        snprintf(type_key, sizeof(type_key), "%s.type", interface.key);
    }
    for (size_t i = 0; i < sizeof(not_reset) / sizeof(*not_reset); i++)
        known = known || strcmp(item, not_reset[i]) == 0;
    if (!known)
        return false;
    if (*type_key != '\0')
        type = config_get(self->c, type_key);
    if ((blank = open_blank(type_key, type)) != NULL) {
        normal = config_get(blank, key);
        lxc_container_put(blank);
    }
    now = config_get(self->c, key);
    known = normal != NULL && !is_same(now, normal) && set_one(self, key, normal);
    free(type);
    free(now);
    free(normal);
    return known;
}

/* Whether two handles have an item of the same value, or an interface. */
static bool
agree(struct lxc_container *one, struct lxc_container *other, const char *key)
{
    char *value = config_get(one, key), *others = config_get(other, key);
    const bool same =
        is_same(value, others) && has_interface(one, key) == has_interface(other, key);

    free(value);
    free(others);
    return same;
}

/* Where lines that stay set a key that was cleared, add one that clears it; not for
 * lxc.idmap, see above.  What cannot be empty is set to what it is now. */
static void
shadow(Container *self, const char *key)
{
    struct lxc_container *outline = journal_outline(self);
    char line[256], *value;

    if (outline == NULL || strcmp(key, "lxc.idmap") == 0 ||
        agree(outline, self->c, key) ||
        snprintf(line, sizeof(line), "%s =\n", key) >= (int)sizeof(line))
        return;
    if (config_load_text(outline, line) && agree(outline, self->c, key)) {
        config_load_text(self->c, line);
    } else if ((value = config_get(self->c, key)) != NULL) {
        set_one(self, key, value);
        free(value);
    }
    journal_new_outline(self);
}

static bool
clear_and_shadow(Container *self, const char *key)
{
    if (!clear_one(self, key))
        return false;
    if (!reset(self, key))
        shadow(self, key);
    return true;
}

/* --- Interfaces --------------------------------------------------------------- */

/* All that any release has; the type last, which empties the others. */
static const char *const of_an_interface[] = {
    "flags",
    "hwaddr",
    "ipv4.address",
    "ipv4.gateway",
    "ipv6.address",
    "ipv6.gateway",
    "ipvlan.isolation",
    "ipvlan.mode",
    "l2proxy",
    "link",
    "macvlan.mode",
    "mtu",
    "name",
    "phys.altname",
    "script.down",
    "script.up",
    "veth.ipv4.route",
    "veth.ipv6.route",
    "veth.mode",
    "veth.n_rxqueues",
    "veth.n_txqueues",
    "veth.pair",
    "veth.vlan.id",
    "veth.vlan.tagged.id",
    "vlan.id",
    "type",
};

/* Whether another one's number begins with this one's, as 12 does with 1: liblxc takes
 * away the lines of both. */
static bool
has_namesake(struct lxc_container *c, const struct interface *interface)
{
    char key[48];

    if (interface->number == 0)
        return false;
    for (unsigned int width = 10; width <= 100; width *= 10)
        for (unsigned int i = 0; i < width; i++) {
            snprintf(key, sizeof(key), NET "%u", interface->number * width + i);
            if (has_interface(c, key))
                return true;
        }
    return false;
}

/* As liblxc reads numbers in C's way, 0x1 is 1, and no line begins like that. */
static bool
clear_exactly(Container *self, const struct interface *interface)
{
    struct lxc_container *c = self->c;
    char key[96];

    if (!has_interface(c, interface->key))
        return false;
    for (size_t i = 0; i < sizeof(of_an_interface) / sizeof(*of_an_interface); i++) {
        snprintf(key, sizeof(key), "%s.%s", interface->key, of_an_interface[i]);
        c->clear_config_item(c, key);
    }
    snprintf(key, sizeof(key), NET "0x%x", interface->number);
    if (!c->clear_config_item(c, key))
        return false;
    journal_note(self, NOTE_CLEAR, interface->key, NULL);
    return true;
}

static bool
clear_interface(Container *self, const struct interface *interface)
{
    const bool ok = has_namesake(self->c, interface) ? clear_exactly(self, interface)
                                                     : clear_one(self, interface->key);

    if (ok)
        shadow(self, interface->key);
    return ok;
}

/* Whether liblxc knows a type, tried where no other interface is. */
#define NOWHERE NET "999999999"

static bool
is_type(struct lxc_container *c, const char *type)
{
    const bool ok = c->set_config_item(c, NOWHERE ".type", type);

    c->clear_config_item(c, NOWHERE);
    return ok;
}

static bool
set_type(Container *self, const char *key, const struct interface *interface,
         const char *type)
{
    if (!is_type(self->c, type))
        return false;
    if (has_interface(self->c, interface->key))
        clear_interface(self, interface);
    return set_one(self, key, type);
}

/* --- Clearing ----------------------------------------------------------------- */

/* Each of these is many: liblxc clears them in memory and leaves their lines, or takes
 * away those of the next, as of lxc.cgroup2 with lxc.cgroup. */
static const char *const kinds[] = {"lxc.cgroup", "lxc.cgroup2", "lxc.prlimit",
                                    "lxc.proc", "lxc.sysctl"};

static const char *const hooks[] = {
    "lxc.hook.autodev",   "lxc.hook.clone",      "lxc.hook.destroy",
    "lxc.hook.mount",     "lxc.hook.post-stop",  "lxc.hook.pre-mount",
    "lxc.hook.pre-start", "lxc.hook.start-host", "lxc.hook.start",
    "lxc.hook.stop",
};

/* "lxc.prlimit.nofile = 1024\n", and more of that. */
static void
clear_each(Container *self, char *items)
{
    for (char *line = items; line != NULL && *line != '\0';) {
        const size_t length = strcspn(line, "\n");
        char *next = line + length + (line[length] == '\n'), *equals;

        line[length] = '\0';
        if ((equals = strstr(line, " = ")) != NULL) {
            *equals = '\0';
            clear_and_shadow(self, line);
        }
        line = next;
    }
    free(items);
}

static bool
clear_item(Container *self, const char *key)
{
    struct interface interface;

    for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
        if (strcmp(key, kinds[i]) == 0) {
            clear_each(self, config_get(self->c, key));
            return lxc_config_item_is_supported(key);
        }
    if (strcmp(key, "lxc.hook") == 0) {
        for (size_t i = 0; i < sizeof(hooks) / sizeof(*hooks); i++)
            clear_and_shadow(self, hooks[i]);
        return true;
    }
    /* An interface without a type is none, for who reads the file. */
    if (is_of_interface(key, &interface) &&
        (interface.item == NULL || strcmp(interface.item, "type") == 0))
        return clear_interface(self, &interface);
    return clear_and_shadow(self, key);
}

/* --- Setting ------------------------------------------------------------------ */

/* liblxc fills the x of a pattern in at random, for the line in another way than for
 * the item. */
static bool
set_address(Container *self, const char *key, const char *pattern)
{
    char *address;
    bool ok = config_set(self->c, key, pattern);

    if (!ok)
        return false;
    address = config_get(self->c, key);
    self->c->clear_config_item(self->c, key);
    ok = set_one(self, key, address != NULL ? address : pattern);
    free(address);
    return ok;
}

/* Values of which there is one, and how it is set. */
static bool
is_single(const char *key, struct interface *interface)
{
    return is_of_interface(key, interface) && interface->item != NULL &&
           (strcmp(interface->item, "type") == 0 ||
            strcmp(interface->item, "hwaddr") == 0);
}

static bool
set_single(Container *self, const char *key, const struct interface *interface,
           const char *value)
{
    return *interface->item == 't' ? set_type(self, key, interface, value)
                                   : set_address(self, key, value);
}

/* Set a key to the lines of a text, one by one. */
static void
set_lines(Container *self, const char *key, const char *lines)
{
    while (lines != NULL && *lines != '\0') {
        const size_t length = strcspn(lines, "\n");
        char *line = strndup(lines, length);

        if (line == NULL || (length > 0 && !set_one(self, key, line)))
            lines = "";
        else
            lines += length + (lines[length] == '\n');
        free(line);
    }
}

/* Whether an item that read as before reads as that and a value more now: in a line of
 * its own, or as lxc.proc's are, with nothing in between. */
static bool
has_grown(const char *before, const char *after, const char *value)
{
    const size_t length = strlen(before);

    return after != NULL && strncmp(before, after, length) == 0 &&
           after[length] != '\0' &&
           (before[length - 1] == '\n' || after[length] == '\n' ||
            strcmp(after + length, value) == 0);
}

/* What was set is no list, whose older line is to go; or a list that was empty, whose
 * lines may have been overtaken by an included file. */
static void
drop_older(Container *self, const char *key, const char *value, const char *before)
{
    char *after, *now;

    if (before == NULL) {
        clear_and_shadow(self, key);
        set_one(self, key, value);
        return;
    }
    after = config_get(self->c, key);
    if (!has_grown(before, after, value)) {
        clear_one(self, key);
        set_one(self, key, value);
        now = config_get(self->c, key);
        if (!is_same(now, after)) { /* or of another kind, such as flags */
            clear_and_shadow(self, key);
            set_lines(self, key, before);
            set_one(self, key, value);
        }
        free(now);
    }
    free(after);
}

/* A limit of a cgroup can be given several times; how that reads depends on the
 * release. */
static bool
is_limit(const char *key)
{
    return (strncmp(key, "lxc.cgroup.", 11) == 0 ||
            strncmp(key, "lxc.cgroup2.", 12) == 0) &&
           strncmp(key, "lxc.cgroup.dir", 14) != 0 &&
           strcmp(key, "lxc.cgroup.relative") != 0;
}

/* As liblxc does, which adds to lists. */
static bool
append(Container *self, const char *key, const char *value)
{
    struct interface interface;
    char *before;
    bool ok, known;

    if (*value == '\0')
        return clear_item(self, key);
    if (is_single(key, &interface))
        return set_single(self, key, &interface, value);
    known = self->c->get_config_item(self->c, key, NULL, 0) >= 0;
    before = config_get(self->c, key);
    ok = set_one(self, key, value);
    if (ok && known && strcmp(key, "lxc.idmap") != 0 && !is_limit(key))
        drop_older(self, key, value, before);
    free(before);
    return ok;
}

/* --- Replacing ---------------------------------------------------------------- */

/* Where liblxc refuses a value, make it say why: to listen each time would cost as much
 * as the call does.  Returns false. */
static bool
refuse(struct held *held, const char *key, const char *value)
{
    struct listening *listening = &held->listening;
    struct interface interface;
    const bool type = is_single(key, &interface) && *interface.item == 't';

    listen_begin(listening);
    if (type)
        is_type(held->c, value);
    else
        held->c->set_config_item(held->c, key, value);
    listen_keep(listening);
    log_end(&listening->mark);
    return false;
}

/* Up to one that is refused. */
static bool
set_all(struct held *held, const char *key, const char *const *values)
{
    for (; *values != NULL; values++)
        if (!set_one(held->self, key, *values))
            return refuse(held, key, *values);
    return true;
}

/* Whether who reads the file would add these values to what comes from elsewhere. */
static bool
adds_up(Container *self, const char *key, const char *const *values)
{
    struct lxc_container *outline = journal_outline(self);
    char *theirs, *ours;
    bool same;

    if (outline == NULL || !is_there(outline, key))
        return false;
    for (; *values != NULL; values++)
        config_set(outline, key, *values);
    theirs = config_get(outline, key);
    ours = config_get(self->c, key);
    same = is_same(theirs, ours);
    free(theirs);
    free(ours);
    journal_new_outline(self);
    return !same;
}

/* To begin with the values are there twice, or on top of the old ones. */
static bool
set_once(struct held *held, const char *key, const char *const *values)
{
    clear_one(held->self, key);
    if (!set_all(held, key, values))
        return false;
    if (!adds_up(held->self, key, values))
        return true;
    clear_and_shadow(held->self, key);
    return set_all(held, key, values);
}

/* An interface that an attempt has made. */
static void
drop_new_interface(Container *self, const char *key)
{
    struct interface interface;

    if (is_of_interface(key, &interface))
        clear_interface(self, &interface);
}

/* liblxc makes an interface in order to clear an item of it. */
static bool
empty(struct held *held, const char *key)
{
    struct interface interface;
    const bool made =
        is_of_interface(key, &interface) && !has_interface(held->c, interface.key);
    bool ok;

    if (!made)
        return clear_item(held->self, key);
    if (interface.item != NULL && strcmp(interface.item, "type") == 0)
        return true;
    ok = held->c->set_config_item(held->c, key, "");
    clear_interface(held->self, &interface);
    return ok;
}

/* Replace the whole value of a key.
 *
 * What was cleared cannot always be set again from what it reads as.  So try the new
 * values on top of the old first: what is refused there leaves single values as they
 * were, and lists are only put together again when a later element of several is
 * refused. */
static bool
replace(struct held *held, const char *key, const char *const *values, bool *known)
{
    Container *self = held->self;
    struct lxc_container *c = held->c;
    const int length = c->get_config_item(c, key, NULL, 0);
    struct interface interface;
    char *old, *now;
    bool ok;

    *known = true;
    if (values[0] == NULL || *values[0] == '\0') {
        ok = empty(held, key);
        *known = ok || length >= 0;
        return ok;
    }
    if (is_single(key, &interface) && values[1] == NULL) {
        ok = set_single(self, key, &interface, values[0]) ||
             refuse(held, key, values[0]);
        if (!ok && length < 0)
            drop_new_interface(self, key);
        return ok;
    }
    old = config_get(c, key);
    ok = set_all(held, key, values);
    if (ok) {
        /* A cleared lxc.idmap is not even harmless where there was none. */
        if (length > 0 || (length == 0 && strcmp(key, "lxc.idmap") != 0))
            ok = set_once(held, key, values);
        free(old);
        return ok;
    }
    now = config_get(c, key);
    *known = length >= 0 || c->get_config_item(c, key, NULL, 0) >= 0;
    if (!is_same(old, now)) {
        clear_one(self, key);
        set_lines(self, key, old);
    }
    if (length < 0)
        drop_new_interface(self, key);
    free(old);
    free(now);
    return false;
}

/* --- Methods ------------------------------------------------------------------ */

PyObject *
Container_set_config_item(PyObject *self, PyObject *const *args, Py_ssize_t n,
                          PyObject *keywords)
{
    static char *names[] = {"key", "value", NULL};
    PyObject *parsed[2];
    WORD key = {0}, value = {0};

    if (!parse_fast(args, n, keywords, "OO:set_config_item", names, 2, parsed) ||
        !word_from(parsed[0], &key) || !word_from(parsed[1], &value))
        return NULL;
    HELD held = hold(self, CONFIG | ADOPT);
    if (held.c == NULL)
        return NULL;
    bool ok = append(held.self, key.s, value.s) || refuse(&held, key.s, value.s);
    held.self->cleared = held.self->cleared && held.c->lxc_conf == NULL;
    return PyBool_FromLong(ok);
}

PyObject *
Container_clear_config_item(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"key", NULL};
    OWNED PyObject *key = NULL;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O&:clear_config_item", names, text,
                                     &key))
        return NULL;
    HELD held = hold(self, CONFIG | ADOPT);
    if (held.c == NULL)
        return NULL;
    return PyBool_FromLong(clear_item(held.self, c_str(key)));
}

/* In one step for other threads. */
PyObject *
Container__replace_config_item(PyObject *self, PyObject *const *args, Py_ssize_t n)
{
    PyObject *parsed[2];
    WORD key = {0}, only = {0};
    STRINGS several = NULL;
    bool ok, known;

    if (!parse_fast(args, n, NULL, "OO:_replace_config_item", (char *[]){"", "", NULL},
                    2, parsed) ||
        !word_from(parsed[0], &key))
        return NULL;
    if (PyUnicode_Check(parsed[1]) || PyBytes_Check(parsed[1])
            ? !word_from(parsed[1], &only)
            : (several = strings_from(parsed[1], "a list of values")) == NULL)
        return NULL;
    HELD held = hold(self, CONFIG | ADOPT);
    if (held.c == NULL)
        return NULL;
    ok = replace(&held, key.s,
                 several ? (const char *const *)several
                         : (const char *const[]){only.s, NULL},
                 &known);
    held.self->cleared = held.self->cleared && held.c->lxc_conf == NULL;
    if (!ok && !known) {
        PyErr_SetObject(PyExc_KeyError, parsed[0]);
        return NULL;
    }
    return PyBool_FromLong(ok);
}

PyObject *
Container_clear_config(PyObject *self, PyObject *ignored)
{
    (void)ignored;
    HELD held = hold(self, ALONE);
    if (held.c == NULL)
        return NULL;
    journal_note(held.self, NOTE_FORGET, NULL, NULL);
    held.c->clear_config(held.c);
    held.self->cleared = true;
    Py_RETURN_NONE;
}

struct load {
    const char *path; /* NULL: the container's own file */
    char *content;    /* of that file, where it is known */
    bool ok, anew;
    struct stamp stamp;
};

/* Whether the container's own file can be loaded. */
static bool
is_valid(const struct lxc_container *c)
{
    struct lxc_container *fresh = container_open(c->name, c->config_path);
    const bool valid = fresh != NULL && fresh->lxc_conf != NULL;

    if (fresh != NULL)
        lxc_container_put(fresh);
    return valid;
}

/* Without the GIL.  liblxc adds to what is there.  Where that came from the same file,
 * and nothing else did, its lists would be there twice: it is read anew. */
static void
load(Container *self, struct load *load)
{
    struct lxc_container *c = self->c;
    const char *file = load->path != NULL ? load->path : c->configfile;
    struct stamp after;
    size_t length;

    if (file == NULL || !config_is_readable(file) || !may_be_read_whole(file))
        return;
    load->anew =
        load->path == NULL &&
        (c->lxc_conf == NULL || (!self->unsaved && !self->cleared && is_valid(c)));
    if (load->anew)
        c->clear_config(c);
    read_stamp(file, &load->stamp);
    load->content = config_read(file, &length);
    load->ok = config_load(c, load->path);
    read_stamp(file, &after);
    if (load->content != NULL && (memcmp(&load->stamp, &after, sizeof(after)) != 0 ||
                                  strlen(load->content) != length)) {
        free(load->content);
        load->content = NULL;
    }
}

PyObject *
Container_load_config(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"path", NULL};
    OWNED PyObject *path = NULL;
    struct load what = {0};

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O&:load_config", names,
                                     optional_text, &path))
        return NULL;
    HELD held = hold(self, ALONE | LISTEN);
    if (held.c == NULL)
        return NULL;
    what.path = c_str(path);
    const char *file = what.path != NULL ? what.path : held.c->configfile;
    WITHOUT_GIL(load(held.self, &what));
    if (what.anew && what.ok) {
        journal_reset(held.self);
        held.self->file = what.stamp;
    } else if (what.content != NULL) { /* what was refused is there up to that */
        journal_note(held.self, NOTE_LOAD, file, what.content);
    } else if (what.ok) {
        journal_spoil(held.self);
    }
    free(what.content);
    if (what.ok)
        held.self->cleared = false;
    return PyBool_FromLong(answer(&held, what.ok));
}
