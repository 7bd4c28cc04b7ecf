/* Tries each access and prints what became of it. The query gives the places; every attempt is this process's own. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static char *ask(const char *name)
{
    static char value[512];
    const char *at = getenv("QUERY_STRING");
    size_t length = strlen(name);
    while (at && !(strncmp(at, name, length) == 0 && at[length] == '='))
        at = strchr(at, '&') ? strchr(at, '&') + 1 : NULL;
    value[0] = 0;
    if (at)
        sscanf(at + length + 1, "%511[^&]", value);
    return value;
}

static void print(const char *name, int result)
{
    printf("%s=%s\n", name, result >= 0 ? "yes" : "no");
}

int main(void)
{
    char context[256] = "";
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    read(open("/proc/self/attr/current", O_RDONLY), context, sizeof context - 1);
    printf("Content-Type: text/plain\n\ncontext=%s\n", context);
    print("own", open(ask("own"), O_RDONLY));
    print("other", open(ask("other"), O_RDONLY));
    print("public", open(ask("public"), O_RDONLY));
    print("write", open(ask("own"), O_WRONLY | O_APPEND));
    address.sin_port = htons(atoi(ask("port")));
    print("connect", connect(socket(AF_INET, SOCK_STREAM, 0), (struct sockaddr *)&address, sizeof address));
    print("signal", kill(atoi(ask("victim")), SIGCONT));
    return 0;
}
