#include "engine/control_socket.h"

#include "base/error.h"
#include "engine/control.h"

#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

socklen_t control_address(int directory_fd, struct sockaddr_un *ret_address)
{
    memset(ret_address, 0, sizeof *ret_address);
    ret_address->sun_family = AF_UNIX;
    int used = snprintf(ret_address->sun_path, sizeof ret_address->sun_path, "/proc/self/fd/%d/%s", directory_fd,
                        CONTROL_SOCKET_NAME);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)used + 1);
}

bool control_peer_is_trusted(int fd)
{
    struct ucred peer;
    socklen_t size_bytes = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size_bytes) != 0 || size_bytes != sizeof peer)
        return false;
    return peer.uid == 0 || peer.uid == geteuid();
}

/* Reading is enough to be refused: state, keys and positions are nobody else's business, and who may enter may reach the socket. */
static int refuse_mode(int directory_fd, mode_t mode, struct weir_error *err)
{
    char link[32], path[PATH_MAX] = "";
    snprintf(link, sizeof link, "/proc/self/fd/%d", directory_fd);
    if (readlink(link, path, sizeof path - 1) <= 0)
        snprintf(path, sizeof path, "DIR");
    return error_set(err, WEIR_EPERM, "control socket: the checkpoint directory is open to other users (mode %04o, not 0700): chmod 700 %s",
                     (unsigned)mode & 07777u, path);
}

static int check_directory(int directory_fd, struct weir_error *err)
{
    struct stat status;
    if (fstat(directory_fd, &status) != 0)
        return error_set_errno(err, errno, "control socket: cannot look at the checkpoint directory");
    if (status.st_uid != geteuid())
        return error_set(err, WEIR_EPERM, "control socket: the checkpoint directory belongs to user %u, not to %u who runs the job: "
                                          "choose another with --directory",
                         (unsigned)status.st_uid, (unsigned)geteuid());
    return (status.st_mode & 077) != 0 ? refuse_mode(directory_fd, status.st_mode, err) : WEIR_OK;
}

static int bind_and_listen(int fd, int directory_fd, struct weir_error *err)
{
    struct sockaddr_un address;
    socklen_t address_bytes = control_address(directory_fd, &address);
    /* bind() gives the file the socket's own mode: at no moment is it open to others. */
    if (fchmod(fd, 0600) != 0)
        return error_set_errno(err, errno, "control socket: cannot set its mode");
    if (unlinkat(directory_fd, CONTROL_SOCKET_NAME, 0) != 0 && errno != ENOENT)
        return error_set_errno(err, errno, "control socket: cannot remove an old one");
    if (bind(fd, (const struct sockaddr *)&address, address_bytes) != 0)
        return error_set_errno(err, errno, "control socket: cannot make %s in the checkpoint directory", CONTROL_SOCKET_NAME);
    if (listen(fd, CONTROL_CLIENTS_MAX) != 0)
        return error_set_errno(err, errno, "control socket: cannot listen");
    return WEIR_OK;
}

int control_listen(int directory_fd, int *ret_fd, struct weir_error *err)
{
    int code = check_directory(directory_fd, err);
    if (code != WEIR_OK)
        return code;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return error_set_errno(err, errno, "control socket: cannot make a socket");
    code = bind_and_listen(fd, directory_fd, err);
    if (code != WEIR_OK) {
        close(fd);
        return code;
    }
    *ret_fd = fd;
    return WEIR_OK;
}

void control_unlink(int directory_fd)
{
    unlinkat(directory_fd, CONTROL_SOCKET_NAME, 0); /* not there: as well */
}
