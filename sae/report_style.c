/* How the report looks: one column of calm text, wide things in boxes that scroll on their own, light and
 * dark by the reader's system, and a version for paper. No ">" stands in it: the page is XML as well.
 */
#include "sae/report_html.h"

static const char *const style[] = {
    /* Colours. In the dark the charts are turned over, white paper first, and their hues turned back. */
    ":root{color-scheme:light dark;--ink:#1f2328;--quiet:#5b646e;--line:#d9dee3;--paper:#fff;--soft:#f5f7f9;"
    "--accent:#0a5c99;--mark:#ffe48f}\n"
    "@media screen and (prefers-color-scheme:dark){:root{--ink:#e4e6e8;--quiet:#a2a9b1;--line:#3b3f44;"
    "--paper:#1a1a1a;--soft:#242628;--accent:#79bdf2;--mark:#6a5200}\n"
    "figure svg{filter:invert(.9) hue-rotate(180deg)}}\n",

    /* Text. */
    "*{box-sizing:border-box}\n"
    "html{-webkit-text-size-adjust:100%;text-size-adjust:100%}\n"
    "body{margin:0;background:var(--paper);color:var(--ink);font:1.0625rem/1.6 Charter,'Bitstream Charter',"
    "'Iowan Old Style',Cambria,Georgia,serif}\n"
    "main,header,footer{max-width:60rem;margin:0 auto;padding:0 1.25rem}\n"
    "header{padding-top:3.5rem}\n"
    "p,blockquote{max-width:42rem;margin:0 0 1rem}\n"
    "h1{font-size:2.25rem;line-height:1.15;letter-spacing:-.01em;margin:.25rem 0 1.25rem;max-width:44rem;"
    "text-wrap:balance}\n"
    "h2{font-size:1.6rem;line-height:1.25;margin:0 0 .75rem}\n"
    "h3{font-size:1.15rem;margin:2rem 0 .75rem}\n"
    "section{margin-top:3rem;padding-top:2.25rem;border-top:1px solid var(--line)}\n"
    "a{color:var(--accent);text-underline-offset:.15em}\n"
    ".lead{font-size:1.2rem;line-height:1.5}\n"
    ".kicker,nav,dl,table,summary,figcaption,.note,.ask,footer{font-family:system-ui,-apple-system,'Segoe "
    "UI',"
    "Roboto,'Helvetica Neue',Arial,sans-serif}\n"
    ".kicker{margin:0;color:var(--quiet);font-size:.8125rem;letter-spacing:.06em;text-transform:uppercase}\n"
    ".note,figcaption{color:var(--quiet);font-size:.875rem;line-height:1.45}\n"
    "p,td,li,summary,blockquote,dd,h1{overflow-wrap:anywhere}\n"
    "code{font:.875em/1.4 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;background:var(--soft);"
    "border-radius:.25em;padding:.1em .35em}\n"
    "mark{background:var(--mark);color:inherit;border-radius:.2em;padding:0 .1em}\n"
    "nav{font-size:.9375rem;margin-top:1.75rem}\n"
    "nav ol{margin:0;padding:0;list-style:none;display:flex;flex-wrap:wrap;gap:.3rem 1.4rem}\n",

    /* Facts: name above value, as many columns as fit. */
    "dl{display:grid;grid-template-columns:repeat(auto-fill,minmax(max(9rem,22%),1fr));gap:1rem 1.5rem;"
    "margin:1.5rem 0;font-size:.9375rem;line-height:1.4}\n"
    "dt{color:var(--quiet);font-size:.8125rem}\n"
    "dd{margin:0;font-weight:600;font-variant-numeric:tabular-nums}\n",

    /* Answers side by side. */
    ".ask{font-size:.8125rem;color:var(--quiet);margin:1.75rem 0 .25rem}\n"
    ".question{font-size:1.5rem;line-height:1.3;max-width:none;margin:0 0 1.25rem}\n"
    ".answers{display:grid;grid-template-columns:repeat(auto-fit,minmax(13rem,1fr));gap:1.25rem;"
    "margin-bottom:1.5rem}\n"
    ".answer{border-top:3px solid var(--line);padding-top:.6rem}\n"
    ".edited{border-top-color:var(--accent)}\n"
    ".answer h3{margin:0;font-size:1.0625rem}\n"
    ".answer .note{margin:0 0 .5rem}\n"
    ".answer p{margin:0;line-height:1.5}\n",

    /* Tables scroll inside their box. */
    ".scroll{overflow-x:auto;margin:1rem 0}\n"
    "table{border-collapse:collapse;width:100%;font-size:.875rem;line-height:1.45}\n"
    "th,td{text-align:left;vertical-align:top;padding:.5rem .9rem .5rem 0;border-bottom:1px solid "
    "var(--line)}\n"
    "thead th{color:var(--quiet);font-weight:500;font-size:.8125rem;vertical-align:bottom;"
    "border-bottom-color:var(--quiet)}\n"
    "th{font-weight:600}\n"
    "th .note{font-weight:400}\n"
    ".n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}\n"
    ".group th{padding-top:1.5rem;font-size:1rem}\n"
    ".wide td,.wide tbody th{min-width:10.5rem}\n"
    ".where{min-width:19rem}\n"
    ".where div+div{margin-top:.3rem}\n",

    /* Pictures keep a readable size and scroll instead. */
    "figure{margin:1.5rem 0}\n"
    "figure .scroll{margin:0}\n"
    "figure svg{display:block;max-width:100%;min-width:34rem;height:auto}\n"
    "figcaption{margin-top:.5rem;max-width:42rem}\n",

    /* Folded texts. */
    "details{border-bottom:1px solid var(--line);padding:.6rem 0}\n"
    "summary{cursor:pointer;font-size:.9375rem;line-height:1.45}\n"
    "summary b{margin-right:.5rem}\n"
    "details ol{margin:.6rem 0 .4rem;padding-left:2rem;font-size:.9375rem;line-height:1.5}\n"
    "details li{margin-bottom:.4rem}\n"
    ".prompt{border-left:3px solid var(--line);padding-left:1rem;color:var(--quiet)}\n"
    "footer{margin-top:4rem;padding-bottom:3rem;color:var(--quiet);font-size:.8125rem}\n",

    "@media (max-width:40rem){body{font-size:1rem}header{padding-top:2rem}h1{font-size:1.75rem}"
    ".question{font-size:1.3rem}section{margin-top:2rem;padding-top:1.75rem}}\n"
    "@page{margin:1.6cm}\n"
    "@media print{:root{color-scheme:light}body{font-size:10pt}main,header,footer{max-width:none;padding:0}"
    "nav{display:none}.answers{grid-template-columns:repeat(auto-fit,minmax(8rem,1fr))}"
    ".print::details-content{content-visibility:visible;display:block}.scroll{overflow:visible}"
    "figure svg{min-width:0}.wide td,.wide tbody th,.where{min-width:0}table{font-size:8pt}"
    "tr,figure,.answer{break-inside:avoid}h2,h3,.group,.ask{break-after:avoid}}\n",
};

void sae_html_style(tn_buf *b) {
    tn_buf_puts(b, "<style>\n");
    for (size_t i = 0; i < sizeof style / sizeof style[0]; i++) tn_buf_puts(b, style[i]);
    tn_buf_puts(b, "</style>\n");
}
