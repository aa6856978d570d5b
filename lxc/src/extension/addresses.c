/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * The interfaces and addresses inside a running container.
 *
 * liblxc forks the process, with all its page tables, to look into the container's
 * network namespace.  But a socket belongs to the namespace that it was made in for as
 * long as it is open: all that has to be done in there is to make a netlink socket.
 *
 * Neither the calling thread does that nor one of its own.  A thread that has gone in
 * may find no way back, out of memory or without the capabilities that another thread
 * has dropped in the meantime; and one of its own would be seen by whatever the program
 * does with all its threads.  So a child is made as posix_spawn() makes one: it shares
 * memory and descriptors, which costs the same at any heap size, and never comes back.
 */
#include "addresses.h"

#include "convert.h"
#include "handle.h"
#include "lock.h"
#include "work.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/nsfs.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- The way in --------------------------------------------------------------- */

struct errand {
    int pidfd, fd; /* the socket, -1 if there is none */
};

static int
run_errand(void *argument)
{
    struct errand *errand = argument;

    /* Only Linux 5.8 and later take a pidfd; others leave it to liblxc. */
    if (setns(errand->pidfd, CLONE_NEWNET) == 0)
        errand->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    _exit(EXIT_SUCCESS);
}

/* No signal is sent when the child ends, and waitpid() without __WALL does not see it:
 * it is nobody else's to reap, and SIGCHLD may be ignored. */
static int
socket_inside(int pidfd)
{
    struct errand errand = {pidfd, -1};
    char stack[16384] __attribute__((aligned(16)));
    sigset_t old;
    pid_t pid;

    block_signals(&old); /* a handler would run in our memory */
    pid = clone(run_errand, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | CLONE_FILES,
                &errand);
    if (pid > 0)
        waitpid(pid, NULL, __WALL);
    restore_signals(&old);
    return errand.fd;
}

static bool
same_file(const struct stat *one, const struct stat *other)
{
    return one->st_dev == other->st_dev && one->st_ino == other->st_ino;
}

pid_t
pid_of(int pidfd)
{
    char path[64], text[512], *field;
    ssize_t length;
    int fd;

    snprintf(path, sizeof(path), "/proc/thread-self/fdinfo/%d", pidfd);
    if ((fd = open(path, O_RDONLY | O_CLOEXEC)) < 0)
        return 0;
    length = read(fd, text, sizeof(text) - 1);
    close(fd);
    text[length > 0 ? length : 0] = '\0';
    field = strstr(text, "\nPid:");
    return field != NULL ? (pid_t)strtol(field + 5, NULL, 10) : 0;
}

/* The user namespace that owns the network namespace of a socket. */
static bool
owner_of(int fd, struct stat *owner)
{
    const int network = ioctl(fd, SIOCGSKNS);
    const int user = network >= 0 ? ioctl(network, NS_GET_USERNS) : -1;
    const bool known = user >= 0 && fstat(user, owner) == 0;

    if (user >= 0)
        close(user);
    if (network >= 0)
        close(network);
    return known;
}

/* Whether liblxc sees the same: it goes into the container's user namespace first, if
 * that is not ours, and from there gets into no network but the namespace's own. */
static bool
is_liblxc_let_in(int pidfd, int fd)
{
    struct stat ours, theirs, owner;
    const pid_t pid = pid_of(pidfd);
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)pid);
    if (pid <= 0 || stat("/proc/thread-self/ns/user", &ours) < 0 ||
        stat(path, &theirs) < 0)
        return false;
    return same_file(&ours, &theirs) ||
           (owner_of(fd, &owner) && same_file(&theirs, &owner));
}

/* --- What the kernel tells ---------------------------------------------------- */

enum { BUFFER = 32768 }; /* the kernel's messages get no longer */

struct link {
    unsigned index;
    char name[IFNAMSIZ];
};

struct network {
    struct link *links;
    size_t count, room;
    /* What to make of them: the names, or the addresses that are wanted. */
    bool names;
    const char *interface, *family;
    uint32_t scope;
    struct strings found;
    bool interrupted; /* it changed meanwhile */
};

/* The first attribute of a type in a message whose own part has that many bytes. */
static const void *
attribute(const struct nlmsghdr *message, size_t fixed, int type, size_t *length)
{
    const struct rtattr *attribute =
        (const struct rtattr *)((const char *)NLMSG_DATA(message) + NLMSG_ALIGN(fixed));
    int left = (int)message->nlmsg_len - (int)NLMSG_SPACE(fixed);

    for (; RTA_OK(attribute, left); attribute = RTA_NEXT(attribute, left))
        if (attribute->rta_type == type) {
            *length = RTA_PAYLOAD(attribute);
            return RTA_DATA(attribute);
        }
    return NULL;
}

/* Copy a name if there is one that fits. */
static bool
copy_name(char name[IFNAMSIZ], const struct nlmsghdr *message, size_t fixed, int type)
{
    size_t length = 0;
    const char *text = attribute(message, fixed, type, &length);

    if (text == NULL || memchr(text, '\0', length) == NULL || strlen(text) >= IFNAMSIZ)
        return false;
    strcpy(name, text);
    return true;
}

static bool
take_link(struct network *network, const struct nlmsghdr *message)
{
    const struct ifinfomsg *info = NLMSG_DATA(message);
    struct link link = {0};

    if (message->nlmsg_len < NLMSG_LENGTH(sizeof(*info)) ||
        !copy_name(link.name, message, sizeof(*info), IFLA_IFNAME))
        return true;
    link.index = (unsigned)info->ifi_index;
    if (network->count == network->room) {
        const size_t room = network->room ? 2 * network->room : 8;
        struct link *links = realloc(network->links, room * sizeof(*links));

        if (links == NULL)
            return false;
        network->links = links;
        network->room = room;
    }
    network->links[network->count++] = link;
    return !network->names || strings_add(&network->found, link.name);
}

/* An address has the name of its label, such as "eth0:1", or of its interface. */
static bool
take_address(struct network *network, const struct nlmsghdr *message)
{
    const struct ifaddrmsg *info = NLMSG_DATA(message);
    char name[IFNAMSIZ], shown[INET6_ADDRSTRLEN];
    const struct link *link = network->links, *end = link + network->count;
    const unsigned char *address;
    size_t length = 0;

    if (message->nlmsg_len < NLMSG_LENGTH(sizeof(*info)))
        return true;
    while (link != end && link->index != info->ifa_index)
        link++;
    if (link == end)
        return true;
    if (!copy_name(name, message, sizeof(*info), IFA_LABEL))
        strcpy(name, link->name);
    if (network->names)
        return strings_add(&network->found, name);

    /* With a peer IFA_ADDRESS is the peer's. */
    address = attribute(message, sizeof(*info), IFA_LOCAL, &length);
    if (address == NULL)
        address = attribute(message, sizeof(*info), IFA_ADDRESS, &length);
    if (address == NULL)
        return true;
    if (info->ifa_family == AF_INET && length >= 4) {
        if (network->family != NULL && strcmp(network->family, "inet") != 0)
            return true;
    } else if (info->ifa_family == AF_INET6 && length >= 16) {
        const bool local = (address[0] == 0xfe && (address[1] & 0xc0) == 0x80) ||
                           (address[0] == 0xff && (address[1] & 0x0f) == 0x02);

        if (network->family != NULL && strcmp(network->family, "inet6") != 0)
            return true;
        if (network->scope != (local ? info->ifa_index : 0))
            return true;
    } else {
        return true;
    }
    if (network->interface ? strcmp(name, network->interface) != 0
                           : strcmp(name, "lo") == 0)
        return true;
    return inet_ntop(info->ifa_family, address, shown, sizeof(shown)) == NULL ||
           strings_add(&network->found, shown);
}

/* Ask for all links or all addresses.  Root in the container can send to this socket as
 * well: what is not from the kernel, or not whole, ends it. */
static bool
dump(int fd, struct network *network, char *buffer, uint16_t type,
     bool (*take)(struct network *, const struct nlmsghdr *))
{
    struct {
        struct nlmsghdr header;
        struct ifinfomsg info;
        struct rtattr attribute;
        uint32_t filter;
    } request = {
        .header = {sizeof(request), type, NLM_F_REQUEST | NLM_F_DUMP, type, 0},
        .attribute = {RTA_LENGTH(sizeof(uint32_t)), IFLA_EXT_MASK},
        .filter = RTEXT_FILTER_SKIP_STATS,
    };

    if (type == RTM_GETADDR)
        request.header.nlmsg_len = NLMSG_LENGTH(sizeof(struct ifaddrmsg));
    if (send(fd, &request, request.header.nlmsg_len, 0) < 0)
        return false;
    for (;;) {
        struct sockaddr_nl sender;
        socklen_t size = sizeof(sender);
        const ssize_t got = recvfrom(fd, buffer, BUFFER, MSG_DONTWAIT | MSG_TRUNC,
                                     (struct sockaddr *)&sender, &size);
        int left = (int)got;

        if (got <= 0 || got > BUFFER || size != sizeof(sender) || sender.nl_pid != 0)
            return false;
        for (const struct nlmsghdr *message = (const struct nlmsghdr *)buffer;
             NLMSG_OK(message, left); message = NLMSG_NEXT(message, left)) {
            if (message->nlmsg_flags & NLM_F_DUMP_INTR)
                network->interrupted = true;
            if (message->nlmsg_type == NLMSG_DONE)
                return message->nlmsg_len < NLMSG_LENGTH(sizeof(int)) ||
                       *(const int *)NLMSG_DATA(message) >= 0;
            if (message->nlmsg_type == NLMSG_ERROR || !take(network, message))
                return false;
        }
    }
}

static bool
ask(int fd, struct network *network)
{
    char *buffer = malloc(BUFFER);
    bool told = buffer != NULL;

    /* What changes all the time is told as it is at last. */
    for (int attempt = 0; told && attempt < 5; attempt++) {
        network->interrupted = false;
        network->count = 0;
        strings_free(&network->found);
        told = dump(fd, network, buffer, RTM_GETLINK, take_link) &&
               dump(fd, network, buffer, RTM_GETADDR, take_address);
        if (!network->interrupted)
            break;
    }
    free(buffer);
    free(network->links);
    return told;
}

/* Root gets in with a pidfd from the container's monitor.  Others would have to join
 * the container's user namespace, which changes what the whole process may do to
 * itself: liblxc's fork does that. */
static struct held
hold_for_look(PyObject *self)
{
    return hold(self, geteuid() == 0 ? SHARED | PIDFD | TALKS : SHARED | TALKS);
}

/* Look into the container, as hold_for_look() has it.  False where only liblxc's own
 * way is left. */
static bool
look_inside(const struct held *held, struct network *network)
{
    struct lxc_container *c = held->c;
    int pidfd, fd;
    bool told;

    if (!(held->what & PIDFD))
        return false;
    pidfd = c->init_pidfd(c);
    if (pidfd == -ECONNREFUSED)
        return true; /* it is stopped */
    if (pidfd < 0)
        return false;
    fd = socket_inside(pidfd);
    told = fd >= 0 && is_liblxc_let_in(pidfd, fd) && ask(fd, network);
    close(pidfd);
    if (fd >= 0)
        close(fd);
    if (!told)
        strings_free(&network->found);
    strings_sort(&network->found); /* as liblxc does it */
    return told;
}

static void
drop_repeated(struct strings *strings)
{
    size_t kept = 0;

    for (size_t i = 0; i < strings->count; i++)
        if (kept > 0 && strcmp(strings->items[i], strings->items[kept - 1]) == 0)
            free(strings->items[i]);
        else
            strings->items[kept++] = strings->items[i];
    strings->count = kept;
}

/* --- Methods ------------------------------------------------------------------ */

static PyObject *
take_array(char **strings)
{
    Py_ssize_t n = 0;

    while (strings != NULL && strings[n] != NULL)
        n++;
    return take_strings(strings, n);
}

PyObject *
Container_get_interfaces(PyObject *self, PyObject *ignored)
{
    struct network network = {.names = true};
    char **interfaces = NULL;
    bool seen;

    (void)ignored;
    HELD held = hold_for_look(self);
    if (held.c == NULL)
        return NULL;
    struct lxc_container *c = held.c;
    WITHOUT_GIL(seen = look_inside(&held, &network);
                if (!seen) interfaces = c->get_interfaces(c));
    if (!seen)
        return take_array(interfaces);
    drop_repeated(&network.found);
    return take_strings(network.found.items, (Py_ssize_t)network.found.count);
}

PyObject *
Container_get_ips(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"interface", "family", "scope", NULL};
    OWNED PyObject *interface = NULL, *family = NULL;
    int scope = 0;
    char **ips = NULL;
    bool seen;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O&O&O&:get_ips", names,
                                     optional_text, &interface, optional_text, &family,
                                     optional_int, &scope))
        return NULL;
    HELD held = hold_for_look(self);
    if (held.c == NULL)
        return NULL;
    struct lxc_container *c = held.c;
    const char *i = c_str(interface), *f = c_str(family);
    struct network network = {.interface = i, .family = f, .scope = (uint32_t)scope};
    WITHOUT_GIL(seen = look_inside(&held, &network);
                if (!seen) ips = c->get_ips(c, i, f, scope));
    if (!seen)
        return take_array(ips);
    return take_strings(network.found.items, (Py_ssize_t)network.found.count);
}
