/* A strict little XML checker, for pictures and pages. */
#ifndef TESTS_XML_H
#define TESTS_XML_H

#include <stdio.h>
#include <string.h>

static inline int is_entity(const char *s) {
    static const char *const known[] = {"&amp;", "&lt;", "&gt;", "&quot;"};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strncmp(s, known[i], strlen(known[i])) == 0) return 1;
    return 0;
}

/* NULL for one element with balanced tags, quoted attributes and escaped text, else what is wrong. */
static inline const char *xml_mistake(const char *s) {
    char open[16][16];
    int depth = 0, elements = 0;
    while (*s) {
        if ((unsigned char)*s < 0x20 && *s != '\n') return "control character";
        if (*s == '&' && !is_entity(s)) return "bare &";
        if (*s == '>') return "bare >";
        if (*s != '<') {
            if (depth == 0 && *s != '\n') return "text outside";
            s++;
            continue;
        }
        int closing = s[1] == '/';
        const char *name = s + 1 + closing;
        size_t len = strcspn(name, " />");
        if (len == 0 || len > 15) return "element name";
        for (s = name + len; *s && *s != '>' && strncmp(s, "/>", 2) != 0;) { /* attributes: ␣name="value" */
            if (closing || *s != ' ') return "attribute separator";
            s += 1 + strcspn(s + 1, "=\"<> ");
            if (strncmp(s, "=\"", 2) != 0) return "attribute without value";
            for (s += 2; *s && *s != '"'; s++)
                if (*s == '<' || (*s == '&' && !is_entity(s))) return "attribute value";
            if (!*s) return "open attribute";
            s++;
        }
        if (!*s) return "open tag";
        if (closing) {
            if (depth == 0 || strncmp(open[depth - 1], name, len) != 0 || open[depth - 1][len])
                return "wrong end";
            depth--;
        } else {
            if (depth == 0 && elements++) return "two roots";
            if (*s == '>') {
                if (depth == 16) return "too deep";
                snprintf(open[depth++], sizeof open[0], "%.*s", (int)len, name);
            }
        }
        s += *s == '>' ? 1 : 2;
    }
    return depth ? "open element" : elements ? NULL : "empty";
}

#endif
