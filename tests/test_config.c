/* config.json: what is read, and one clear line for everything that is not. */
#include "qwen/qwen.h"
#include "tests/test.h"

#include <stdio.h>
#include <string.h>

#define SIZES                                                                                                \
    "\"vocab_size\": 151936, \"hidden_size\": 896, \"num_hidden_layers\": 24, \"num_attention_heads\": 14, " \
    "\"num_key_value_heads\": 2, \"intermediate_size\": 4864, \"max_position_embeddings\": 32768"

static tn_err err;

static int parse(qwen_config *c, const char *json, const char *generation) {
    err.msg[0] = '\0';
    return qwen_config_parse(c, json, strlen(json), generation, generation ? strlen(generation) : 0, &err);
}

/* A sound configuration of `type` with `more` after its other keys: the last of equal keys counts. */
static int parse_with(qwen_config *c, const char *type, const char *more) {
    char json[2048];
    snprintf(json, sizeof json, "{\"model_type\": \"%s\", " SIZES "%s%s}", type, *more ? ", " : "", more);
    return parse(c, json, NULL);
}

static void reads_qwen25(void) {
    qwen_config c;
    CHECK_INT(
        parse(&c,
              "{\"architectures\": [\"Qwen2ForCausalLM\"], \"model_type\": \"qwen2\", " SIZES
              ", \"hidden_act\": \"silu\", \"rms_norm_eps\": 1e-06, \"rope_theta\": 1000000.0, "
              "\"tie_word_embeddings\": true, \"use_sliding_window\": false, \"sliding_window\": 32768, "
              "\"torch_dtype\": \"bfloat16\", \"eos_token_id\": 151645}",
              "{\"eos_token_id\": [151645, 151643], \"temperature\": 0.7}"),
        TN_OK);
    CHECK_STR(c.model_type, "qwen2");
    CHECK_INT(c.vocab, 151936);
    CHECK_INT(c.hidden, 896);
    CHECK_INT(c.layers, 24);
    CHECK_INT(c.heads, 14);
    CHECK_INT(c.kv_heads, 2);
    CHECK_INT(c.head_dim, 64);
    CHECK_INT(c.intermediate, 4864);
    CHECK_INT(c.max_positions, 32768);
    CHECK_INT(c.tied, 1);
    CHECK_INT(c.qkv_bias, 1);
    CHECK(c.rms_eps == 1e-6f);
    CHECK(c.rope_theta == 1e6f);
    CHECK(c.yarn_factor == 1.0f);
    CHECK_INT(c.n_eos, 2);
    CHECK_INT(c.eos[0], 151645);
    CHECK_INT(c.eos[1], 151643);
}

static void reads_rope_spellings(void) {
    qwen_config c;
    CHECK_INT(
        parse_with(&c, "qwen2", "\"rope_parameters\": {\"rope_type\": \"default\", \"rope_theta\": 5e5}"),
        TN_OK);
    CHECK(c.rope_theta == 5e5f);
    CHECK_INT(parse_with(&c, "qwen2", "\"rope_theta\": 1e4, \"rope_parameters\": {\"rope_theta\": 5e5}"),
              TN_OK);
    CHECK(c.rope_theta == 5e5f);
    CHECK_INT(parse_with(&c, "qwen2", ""), TN_OK);
    CHECK(c.rope_theta == 1e4f);
    CHECK_INT(parse_with(&c, "qwen2", "\"rope_scaling\": null, \"rope_theta\": 2e4"), TN_OK);
    CHECK(c.rope_theta == 2e4f);
    CHECK(c.yarn_factor == 1.0f);
}

static void reads_yarn(void) {
    qwen_config c;
    CHECK_INT(parse_with(&c, "qwen2",
                         "\"rope_theta\": 1e6, \"rope_scaling\": {\"type\": \"yarn\", \"factor\": 4.0, "
                         "\"original_max_position_embeddings\": 8192}"),
              TN_OK);
    CHECK(c.rope_theta == 1e6f);
    CHECK(c.yarn_factor == 4.0f);
    CHECK_INT(c.yarn_original_positions, 8192);
    CHECK(c.yarn_beta_fast == 32.0f && c.yarn_beta_slow == 1.0f);
    CHECK_NEAR(c.yarn_attention_factor, 1.13862943611, 1e-6); /* 0.1 ln 4 + 1 */
    CHECK_INT(parse_with(&c, "qwen2",
                         "\"rope_parameters\": {\"rope_type\": \"yarn\", \"rope_theta\": 1e5, \"factor\": 2, "
                         "\"attention_factor\": 0.5, \"beta_fast\": 16, \"beta_slow\": 2}"),
              TN_OK);
    CHECK(c.rope_theta == 1e5f && c.yarn_factor == 2.0f && c.yarn_attention_factor == 0.5f);
    CHECK(c.yarn_beta_fast == 16.0f && c.yarn_beta_slow == 2.0f);
    CHECK_INT(c.yarn_original_positions, 32768);
}

static void fills_defaults(void) {
    qwen_config c;
    CHECK_INT(parse_with(&c, "llama", "\"num_key_value_heads\": null, \"head_dim\": null"), TN_OK);
    CHECK_STR(c.model_type, "llama");
    CHECK_INT(c.qkv_bias, 0);
    CHECK_INT(c.kv_heads, 14);
    CHECK_INT(c.head_dim, 64);
    CHECK_INT(c.tied, 0);
    CHECK(c.rms_eps == 1e-6f);
    CHECK_INT(c.n_eos, 0);
    CHECK_INT(parse_with(&c, "qwen2", "\"head_dim\": 128, \"eos_token_id\": [7, 7, 8]"), TN_OK);
    CHECK_INT(c.head_dim, 128);
    CHECK_INT(c.n_eos, 2);
}

static void refuses_by_name(void) {
    static const struct {
        const char *type, *more, *says;
        int code;
    } cases[] = {
        {"mistral", "", "\"model_type\" is \"mistral\", supported are \"qwen2\" and \"llama\"", TN_EUNSUP},
        {"qwen2", "\"model_type\": 2", "\"model_type\" is 2, expected \"qwen2\" or \"llama\"", TN_EFORMAT},
        {"qwen2", "\"hidden_act\": \"gelu\"", "\"hidden_act\" is \"gelu\", supported is \"silu\"", TN_EUNSUP},
        {"qwen2", "\"use_sliding_window\": true", "\"use_sliding_window\" is true, which is not supported",
         TN_EUNSUP},
        {"qwen2", "\"use_sliding_window\": 1", "\"use_sliding_window\" is 1, expected true or false",
         TN_EFORMAT},
        {"qwen2", "\"layer_types\": [\"full_attention\", \"sliding_attention\"]",
         "\"layer_types\" has \"sliding_attention\"", TN_EUNSUP},
        {"llama", "\"attention_bias\": true", "\"attention_bias\" is true", TN_EUNSUP},
        {"llama", "\"mlp_bias\": true", "\"mlp_bias\" is true", TN_EUNSUP},
        {"qwen2", "\"quantization_config\": {\"quant_method\": \"gptq\"}", "\"quantization_config\" is set",
         TN_EUNSUP},
        {"qwen2", "\"vocab_size\": 0", "\"vocab_size\" is 0, expected a whole number from 1 to 16777216",
         TN_EFORMAT},
        {"qwen2", "\"hidden_size\": -896", "\"hidden_size\" is -896, expected a whole number", TN_EFORMAT},
        {"qwen2", "\"hidden_size\": 896.5", "\"hidden_size\" is 896.5", TN_EFORMAT},
        {"qwen2", "\"hidden_size\": \"896\"", "\"hidden_size\" is \"896\"", TN_EFORMAT},
        {"qwen2", "\"hidden_size\": [896]", "\"hidden_size\" is an array", TN_EFORMAT},
        {"qwen2", "\"hidden_size\": 4294967296", "\"hidden_size\" is 4294967296", TN_EFORMAT},
        {"qwen2", "\"hidden_size\": 1e300", "\"hidden_size\" is 1e300", TN_EFORMAT},
        {"qwen2", "\"hidden_size\": 897", "(897) is not a multiple of \"num_attention_heads\" (14)",
         TN_EFORMAT},
        {"qwen2", "\"hidden_size\": 65536, \"num_attention_heads\": 2", "is 32768, at most 1024 is supported",
         TN_EFORMAT},
        {"qwen2", "\"num_hidden_layers\": 1000000", "\"num_hidden_layers\" is 1000000", TN_EFORMAT},
        {"qwen2", "\"num_hidden_layers\": null", "\"num_hidden_layers\" is null", TN_EFORMAT},
        {"qwen2", "\"num_attention_heads\": 99999999999999999999", "\"num_attention_heads\" is 999",
         TN_EFORMAT},
        {"qwen2", "\"num_key_value_heads\": 4",
         "\"num_attention_heads\" (14) is not a multiple of \"num_key_value_heads\" (4)", TN_EFORMAT},
        {"qwen2", "\"intermediate_size\": true", "\"intermediate_size\" is true", TN_EFORMAT},
        {"qwen2", "\"max_position_embeddings\": 0", "\"max_position_embeddings\" is 0", TN_EFORMAT},
        {"qwen2", "\"head_dim\": 63", "the head dimension is 63", TN_EFORMAT},
        {"qwen2", "\"head_dim\": 4096", "\"head_dim\" is 4096", TN_EFORMAT},
        {"qwen2", "\"rms_norm_eps\": -1", "\"rms_norm_eps\" is -1, expected a number from 0 to 1",
         TN_EFORMAT},
        {"qwen2", "\"rms_norm_eps\": \"small\"", "\"rms_norm_eps\" is \"small\"", TN_EFORMAT},
        {"qwen2", "\"tie_word_embeddings\": 1", "\"tie_word_embeddings\" is 1, expected true or false",
         TN_EFORMAT},
        {"qwen2", "\"rope_theta\": 0", "\"rope_theta\" is 0", TN_EFORMAT},
        {"qwen2", "\"rope_theta\": 1e999", "\"rope_theta\" is 1e999", TN_EFORMAT},
        {"qwen2", "\"partial_rotary_factor\": 0.5", "\"partial_rotary_factor\" below 1", TN_EUNSUP},
        {"qwen2", "\"rope_scaling\": \"yarn\"", "\"rope_scaling\" is \"yarn\", expected an object",
         TN_EFORMAT},
        {"llama", "\"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8}",
         "\"rope_type\" is \"llama3\", supported are \"default\" and \"yarn\"", TN_EUNSUP},
        {"qwen2", "\"rope_scaling\": {\"type\": \"dynamic\", \"factor\": 8}", "\"rope_type\" is \"dynamic\"",
         TN_EUNSUP},
        {"qwen2", "\"rope_scaling\": {\"type\": \"yarn\"}", "\"factor\" of YaRN is missing", TN_EFORMAT},
        {"qwen2", "\"rope_scaling\": {\"type\": \"yarn\", \"factor\": 0.5}", "\"factor\" is 0.5", TN_EFORMAT},
        {"qwen2", "\"rope_scaling\": {\"type\": \"yarn\", \"factor\": 4, \"mscale\": 1}",
         "\"mscale\" of YaRN is not supported", TN_EUNSUP},
        {"qwen2", "\"rope_scaling\": {\"type\": \"yarn\", \"factor\": 4, \"truncate\": false}",
         "\"truncate\": false of YaRN is not supported", TN_EUNSUP},
        {"qwen2", "\"eos_token_id\": -1", "\"eos_token_id\" is -1, expected token ids from 0 to 151935",
         TN_EFORMAT},
        {"qwen2", "\"eos_token_id\": [1, 151936]", "\"eos_token_id\" is 151936", TN_EFORMAT},
        {"qwen2", "\"eos_token_id\": \"<|im_end|>\"", "\"eos_token_id\" is \"<|im_end|>\"", TN_EFORMAT},
        {"qwen2", "\"eos_token_id\": [1,2,3,4,5,6,7,8,9]", "\"eos_token_id\" lists more than 8 tokens",
         TN_EUNSUP},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        qwen_config c;
        char says[256];
        snprintf(says, sizeof says, "config.json: %s", cases[i].says[0] == '"' ? cases[i].says : "");
        if (!CHECK_INT(parse_with(&c, cases[i].type, cases[i].more), cases[i].code))
            printf("  for %s: %s\n", cases[i].more, err.msg);
        CHECK_HAS(err.msg, says);
        CHECK_HAS(err.msg, cases[i].says);
        CHECK(strchr(err.msg, '\n') == NULL);
        CHECK_INT(c.hidden, 0); /* nothing half-read is left behind */
    }
}

static void refuses_missing_and_broken(void) {
    static const char *const required[] = {"vocab_size",        "hidden_size",
                                           "num_hidden_layers", "num_attention_heads",
                                           "intermediate_size", "max_position_embeddings"};
    qwen_config c;
    for (size_t i = 0; i < sizeof required / sizeof *required; i++) {
        char json[1024] = "{\"model_type\": \"qwen2\", " SIZES "}", says[128];
        char *key = strstr(json, required[i]);
        key[0] = 'X';
        snprintf(says, sizeof says, "config.json: \"%s\" is missing", required[i]);
        CHECK_INT(parse(&c, json, NULL), TN_EFORMAT);
        CHECK_STR(err.msg, says);
    }
    CHECK_INT(parse(&c, "{" SIZES "}", NULL), TN_EFORMAT);
    CHECK_STR(err.msg, "config.json: \"model_type\" is missing");
    CHECK_INT(parse(&c, "", NULL), TN_EFORMAT);
    CHECK_HAS(err.msg, "config.json: bad JSON");
    CHECK_INT(parse(&c, "[1, 2]", NULL), TN_EFORMAT);
    CHECK_STR(err.msg, "config.json: not a JSON object");
    CHECK_INT(parse(&c, "{\"model_type\": \"qwen2\", ", NULL), TN_EFORMAT);
    CHECK_HAS(err.msg, "config.json: bad JSON at byte");
    CHECK_INT(parse(&c, "{\"model_type\": \"qwen2\", " SIZES "}", "{]"), TN_EFORMAT);
    CHECK_HAS(err.msg, "generation_config.json: bad JSON at byte");
    CHECK_INT(parse(&c, "{\"model_type\": \"qwen2\", " SIZES "}", "{\"eos_token_id\": 1e9}"), TN_EFORMAT);
    CHECK_HAS(err.msg, "generation_config.json: \"eos_token_id\" is 1e9");
}

void test_config(void) {
    RUN(reads_qwen25);
    RUN(reads_rope_spellings);
    RUN(reads_yarn);
    RUN(fills_defaults);
    RUN(refuses_by_name);
    RUN(refuses_missing_and_broken);
}
