/* The trainer's memory, shared by the files train*.c and looked into by the tests.
 *
 * B = rows of the batch (opts.batch at most), D = d_in, F = d_sae.
 *
 * A step is
 *
 *     encode     train_encode.c   x [B, D] -> lists of active latents, row by row; screening (screen.h)
 *     select     the architecture's, where rows compete
 *     turn       train_lists.c    the same lists, latent by latent
 *     decode     train_forward.c  the error, the losses
 *     gradient   train_grad.c     each latent's is a sum over its own list, in a fixed order
 *     update     train_update.c   Adam
 *
 * Everything behind the encoder works on active latents only, and nothing of size [B, F] is kept. Rows or
 * latents are shared out between threads without changing one bit. Latents are handled in groups of
 * SAE_GROUP, the smallest piece of work.
 */
#ifndef SAE_TRAIN_INTERNAL_H
#define SAE_TRAIN_INTERNAL_H

#include "sae/arch.h"
#include "sae/search.h"
#include "sae/train.h"
#include "sae/train_lists.h"
#include "tensor/arena.h"

#define SAE_AT_ONCE 16 /* rows that one call of tn_dots or tn_axpys takes */
#define SAE_GROUP 64   /* latents per piece of work; their encoder rows stay in the second-level cache */
#define SAE_ROWS 64    /* batch rows per piece of work, for the same reason */
/* Latents whose gradients are summed up together, and rows that are decoded together at most: more of one
 * means that the other comes from memory less often. */
#define SAE_GRADIENTS (2 * SAE_GROUP)
#define SAE_MOST_ROWS 512

#define SAE_DIGITS 2048 /* values of the digits that BatchTopK counts */

/* Arrays shaped as the model's parameters: gradients and the two Adam moments. */
typedef struct {
    float *w_enc;                   /* [F, D] */
    float *w_dec;                   /* [F, D] */
    float *vector[SAE_MAX_VECTORS]; /* [F] each, as sae_arch.vectors lists them; NULL beyond the last */
    float *b_dec;                   /* [D] */
} sae_params;

/* The gradient of one latent, as sae_train_arch.gradient makes it: of some rows, then of those behind them.
 */
typedef struct {
    const sae_entry *list; /* [count] the latent's entries on these rows */
    size_t count;
    const float *w;           /* [D] W_dec[i] */
    const float *xin;         /* [n, D] what the encoder sees */
    float *dw_enc, *dw_dec;   /* [D] zeros at first */
    float *dpre_of;           /* [count] out: of each entry the gradient by the encoder's product; dw_enc
                               * follows from it (train_grad.c) */
    float lambda_n;           /* lambda / n */
    float dpre;               /* sum over rows of the gradient by the encoder's product */
    float dnorm;              /* gradient of |W_dec[i]| */
    float d[SAE_MAX_VECTORS]; /* of the latent's vectors */
} sae_latent_grad;

/* What tells architectures apart in training: train_ARCH.c, one table each. */
typedef struct {
    const char *name;
    const char *trained_as; /* its name in SAELens' metadata */
    sae_architecture model; /* what it is once trained */
    /* The least product of latent i with a row that `list` may list, or a little less (sae_screen_below). */
    float (*bar)(const sae_trainer *t, size_t i);
    /* Is latent i, whose product with the row is p, listed? If so 1, and *e is its entry. A NaN is listed,
     * which carries it into the loss. */
    int (*list)(const sae_trainer *t, size_t i, float p, sae_entry *e);
    int per_row; /* 1: of what is listed the k largest of a row stay, weighed by w_i */
    /* After all rows have their lists: takes entries off them (or NULL). */
    void (*select)(sae_trainer *t);
    /* What latent i decodes with where its entry is z: 0 where it does not fire (NULL: z). */
    float (*value)(const sae_trainer *t, size_t i, float z);
    /* What the penalty sums of latent i's list, into z_sum (NULL: its values). */
    double (*sum)(const sae_trainer *t, size_t i);
    /* After x̂: the auxiliary loss; fills aux_err with its gradient by the reconstruction (or NULL). */
    double (*auxiliary)(sae_trainer *t);
    double (*penalty)(const sae_trainer *t);
    void (*gradient)(const sae_trainer *t, size_t i, sae_latent_grad *g);
    /* After the gradients of all entries: what is no sum over them (or NULL). */
    void (*rest)(const sae_trainer *t, size_t i, sae_latent_grad *g);
    /* Adds to g [D] what moves b_dec as the start of a reconstruction; NULL: the sum of err. */
    void (*b_dec)(const sae_trainer *t, float *g);
    int auxk;       /* 1: AuxK is part of the auxiliary loss and has to know which latents are dead */
    int batch_wide; /* 1: … the k n largest of the batch; `select` takes the others off */
    void (*after_step)(sae_trainer *t); /* state that is no parameter (or NULL) */
    void (*finish)(sae_trainer *t);     /* sae_train_finish (or NULL) */
} sae_train_arch;

extern const sae_train_arch sae_train_relu, sae_train_topk, sae_train_batchtopk, sae_train_jumprelu,
    sae_train_gated, sae_train_matryoshka;
const sae_train_arch *sae_train_arch_of(sae_train_kind kind);

/* What a thread needs to encode a block of rows. */
typedef struct {
    sae_search_room search; /* `found` has room for all latents; pages that stay unused cost nothing */
    sae_screen_room copy;
    sae_pick *heap;  /* [k] where rows have a k */
    size_t given_up; /* rows that were encoded densely after all */
} sae_encode_room;

struct sae_trainer {
    const sae_train_arch *arch;
    sae_model *model;
    sae_vector vectors[SAE_MAX_VECTORS]; /* the model's */
    int n_vectors;
    sae_train_opts opts;
    tn_exec ex;
    int steps; /* taken so far */
    void *memory;

    sae_params g, m, v; /* gradient, first and second moment */
    int32_t *silent;    /* [F] steps (or rows: sae_convention) since the latent last fired */

    /* The batch at hand. */
    int n;          /* its rows */
    const float *x; /* [n, D], the caller's */
    float *xin;     /* [B, D] x - b_dec (when apply_b_dec_to_input) */
    float *err;     /* [B, D] x̂, then G = 2/n (x̂ - x) */
    sae_lists lists;
    uint32_t *fired; /* [F] rows on which the latent's value is not 0 */
    float *weight;   /* [F] w_i: 1, or |W_dec[i]| */
    int evaluating;  /* 1 within sae_train_eval */

    double *row_se;    /* [B] sum_d (x̂ - x)^2 */
    double *z_sum;     /* [F] what sae_train_arch.sum says */
    double *grad_sq;   /* [F] squared length of the latent's gradient */
    double *mean;      /* [D] column sums of x */
    float *grad_room;  /* [threads, 2, SAE_GRADIENTS, D] dW_enc and dW_dec of some latents */
    float *dpre_room;  /* [threads, SAE_GRADIENTS, B] sae_latent_grad.dpre_of of theirs */
    float *b_dec_part; /* [ceil(F / SAE_GROUP), D] what the encoder adds to b_dec's gradient */
    float *xin_sum;    /* [D] JumpReLU: sum of xin over the batch, for the loss on pre-activations */
    float *zero;       /* [D] the gradient of a latent that does not fire */

    /* The encoder. */
    sae_screen screen;     /* without screening only its norm and loss, all 0 */
    int screening;         /* 1: there is a small copy */
    int copied;            /* 1: … of the encoder as it is */
    int dense_steps;       /* steps to go without it */
    float *bar;            /* [F] sae_train_arch.bar */
    float *bar_scale;      /* [F] 1 / w_i where latents compete, else 0 */
    float floor;           /* that the values of all rows exceed */
    sae_encode_room *room; /* [threads] */

    uint32_t *drawn; /* [B] rows that dead latents begin anew with */

    /* BatchTopK and Matryoshka. */
    size_t *digits;   /* [threads, SAE_DIGITS] how many values have this digit */
    double threshold; /* moving average of the least value kept, from 0 */
    float least;      /* … on the batch at hand */

    /* AuxK (TopK, BatchTopK, Matryoshka): the latents that are dead, reconstructing the error. */
    int n_dead;           /* 0: no auxiliary loss */
    double aux_scale;     /* what the squared error is multiplied with */
    int32_t *dead;        /* [n_dead] ascending */
    int32_t *dead_at;     /* [F] place in `dead`, or -1 */
    sae_lists dead_lists; /* of AuxK: a latent is its place in `dead` */
    float *dead_pre;      /* [threads, SAE_ROWS, F] the pre-activations of some rows */
    sae_pick *dead_heap;  /* [threads, D/2] */
    float *aux_err;       /* [B, D] gradient of the auxiliary loss by its reconstruction */
    double *aux_se;       /* [B] its squared error */

    /* [opts.n_widths - 1, B, D] Matryoshka: gradient by reconstruction l and those beyond */
    float *level_err;

    double *row_l0; /* [B] latents that fire on a row */
    double mean_l0; /* their mean over the batch */
};

/* Does JumpReLU's loss on pre-activations lift latent i? */
static inline int sae_train_lifted(const sae_trainer *t, size_t i) {
    return t->opts.arch == SAE_TRAIN_JUMPRELU && t->opts.pre_act > 0 && t->silent[i] >= t->opts.dead_window;
}

/* Has latent i a gradient on this batch? Its rows of t->g are written only then. */
static inline int sae_train_touched(const sae_trainer *t, size_t i) {
    return sae_lists_count(&t->lists, i) > 0 || (t->n_dead > 0 && t->dead_at[i] >= 0) ||
           sae_train_lifted(t, i);
}

/* train_encode.c: x -> the rows' lists; takes its memory from the arena. */
void sae_train_take_encoder(sae_trainer *t, tn_arena *a);
void sae_train_encode(sae_trainer *t);
/* … row i of W_enc into the small copy, by thread `worker`. */
void sae_train_copy(sae_trainer *t, size_t worker, size_t i);
/* train_forward.c: x [n, D] -> the active lists, err = x̂ - x, and the metrics at coefficient l1. */
void sae_train_forward(sae_trainer *t, const float *x, int n, double l1, sae_metrics *m);
/* Latents i0 … i1-1 of the lists on rows b0 … b1-1. */
typedef struct {
    const sae_lists *lists;
    size_t b0, b1, i0, i1;
    uint32_t *place;       /* [b1 - b0] how far a row's list has been read: 0 at first, then moved on */
    const int32_t *latent; /* which one number i of the lists is (NULL: i) */
} sae_piece;
/* train_forward.c: how many rows of the batch decode together, at most SAE_MOST_ROWS: each time W_dec comes
 * from memory. */
size_t sae_train_rows_together(const sae_trainer *t);
/* … adds what they decode to - value of their entries (NULL: the entries), latents ascending -
 * to out [n, D], and how many of a row are not 0 to l0 [n] (or NULL). A group of latents at a time, which
 * stay in cache while all rows pass by. */
void sae_train_decode(const sae_trainer *t, const sae_piece *p,
                      float (*value)(const sae_trainer *, size_t, float), float *out, double *l0);
/* train_relu.c: bar and list of positive pre-activations. */
float sae_train_bar_of_zero(const sae_trainer *t, size_t i);
int sae_train_list_positive(const sae_trainer *t, size_t i, float p, sae_entry *e);
/* train_relu.c: mean_b sum_i w_i z_sum_i */
double sae_train_l1(const sae_trainer *t);
/* train_auxk.c: memory, which latents are dead (once `fired` is known), the auxiliary loss, a dead latent's
 * gradient. */
void sae_auxk_take(sae_trainer *t, tn_arena *a);
void sae_auxk_start(sae_trainer *t);
double sae_auxk_loss(sae_trainer *t);
void sae_auxk_gradient(const sae_trainer *t, size_t i, sae_latent_grad *g);
/* train_linear.c: with err [n, D] as G; `push` is what the penalty adds to each value's gradient. */
void sae_train_linear_gradient(const sae_trainer *t, const float *err, float push, sae_latent_grad *g);
/* train_topk.c: what BatchTopK shares; unit_rows moves the lengths of decoder rows into the encoder. */
double sae_train_no_penalty(const sae_trainer *t);
void sae_train_unit_rows(sae_trainer *t);
/* train_batchtopk.c: the threshold that the finished SAE has; what Matryoshka shares. */
double sae_batchtopk_threshold(const sae_trainer *t);
int sae_batchtopk_list(const sae_trainer *t, size_t i, float p, sae_entry *e);
void sae_batchtopk_select(sae_trainer *t);
void sae_batchtopk_after_step(sae_trainer *t);
void sae_batchtopk_finish(sae_trainer *t);
/* … and of the values listed on the first n rows the one with rank - 1 larger or equal ones before it. */
float sae_batchtopk_rank(sae_trainer *t, size_t n, size_t rank);
/* train_options.c: weight of a squared error in the loss; 1 for all but dictionary_learning's Matryoshka.
 */
double sae_train_mse_weight(const sae_train_opts *o);
/* train_grad.c: gradients of the loss into t->g after a forward; returns their global L2 norm. */
double sae_train_gradient(sae_trainer *t, double l1);
/* … g [D] += the sum of rows [n, D], in order. */
void sae_train_add_rows(const sae_trainer *t, const float *rows, float *g);
/* train_resample.c: dead latents begin anew, after the step on t->x. */
void sae_train_resample(sae_trainer *t);
/* train_update.c: one Adam step with the gradient times `scale`. */
void sae_train_update(sae_trainer *t, double lr, float scale);

#endif
