"""Training steps of a user's own, as each backend wants them."""

import keras

BACKEND = keras.backend.backend()


def train_step(factor):
    """Returns a `train_step` that feeds the model its inputs times a factor."""

    def on_tensorflow(self, data):
        import tensorflow as tf

        x, y = data
        with tf.GradientTape() as tape:
            loss = self.compute_loss(y=y, y_pred=self(factor * x, training=True))
        variables = self.trainable_variables
        gradients = tape.gradient(loss, variables)
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return {"loss": loss}

    def on_jax(self, state, data):
        import jax

        trained, others, optimizers, metrics = state
        x, y = data[:2]

        def forward(trained):
            y_pred, changed = self.stateless_call(
                trained, others, factor * x, training=True
            )
            return self.compute_loss(y=y, y_pred=y_pred), changed

        both = jax.value_and_grad(forward, has_aux=True)
        (loss, others), gradients = both(trained)
        trained, optimizers = self.optimizer.stateless_apply(
            optimizers, gradients, trained
        )
        return {"loss": loss}, (trained, others, optimizers, metrics)

    def on_torch(self, data):
        import torch

        x, y = data
        self.zero_grad()
        loss = self.compute_loss(y=y, y_pred=self(factor * x, training=True))
        loss.backward()
        variables = self.trainable_variables
        with torch.no_grad():
            gradients = [v.value.grad for v in variables]
            self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return {"loss": loss}

    return {"tensorflow": on_tensorflow, "jax": on_jax, "torch": on_torch}[BACKEND]


def gan_step_on_tensorflow(self, data):
    import tensorflow as tf

    real = data[0] if isinstance(data, tuple) else data
    noise = keras.random.normal((tf.shape(real)[0], 3), seed=self.seed)
    with tf.GradientTape() as tape:
        fake = self.critic(self.generator(noise))
        c_loss = tf.reduce_mean(fake) - tf.reduce_mean(self.critic(real))
    v = self.critic.trainable_variables
    self.c_optimizer.apply_gradients(zip(tape.gradient(c_loss, v), v, strict=True))
    with tf.GradientTape() as tape:
        g_loss = -tf.reduce_mean(self.critic(self.generator(noise)))
    v = self.generator.trainable_variables
    self.g_optimizer.apply_gradients(zip(tape.gradient(g_loss, v), v, strict=True))
    return {"c_loss": c_loss, "g_loss": g_loss}


def gan_step_on_torch(self, data):
    import torch

    real = data[0] if isinstance(data, tuple | list) else data
    noise = keras.random.normal((real.shape[0], 3), seed=self.seed)
    critic, generator = self.critic, self.generator
    losses = {}
    for name, optimizer, part, loss_of in (
        (
            "c_loss",
            self.c_optimizer,
            critic,
            lambda: critic(generator(noise)).mean() - critic(real).mean(),
        ),
        (
            "g_loss",
            self.g_optimizer,
            generator,
            lambda: -critic(generator(noise)).mean(),
        ),
    ):
        self.zero_grad()
        losses[name] = loss = loss_of()
        loss.backward()
        with torch.no_grad():
            variables = part.trainable_variables
            optimizer.apply([v.value.grad for v in variables], variables)
    return losses
