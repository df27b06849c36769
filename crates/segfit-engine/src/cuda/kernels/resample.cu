// Pooling, and the linear maps along rows and columns: average pooling, enlarging, padding.

struct WindowParameters {
    Tensor x;
    Tensor y;
    int kernel_rows;
    int kernel_columns;
    int stride_rows;
    int stride_columns;
    int padding_rows;
    int padding_columns;
};

struct Window {
    int top;
    int bottom;
    int left;
    int right;
};

DEVICE Window window_of(const WindowParameters &p, int row, int column) {
    Window w;
    w.top = row * p.stride_rows - p.padding_rows;
    w.left = column * p.stride_columns - p.padding_columns;
    w.bottom = min(w.top + p.kernel_rows, p.x.height);
    w.right = min(w.left + p.kernel_columns, p.x.width);
    w.top = max(w.top, 0);
    w.left = max(w.left, 0);
    return w;
}

DEVICE bool beats(float v, float best) {
    return v > best || isnan(v);
}

KERNEL(max_pool, WindowParameters) {
    const Run run = run_of(p.y, CHUNK);
    const float *x = plane_of(p.x, run.image, run.channel);
    float *y = plane_of(p.y, run.image, run.channel);
    for (int i = run.first + threadIdx.x; i < run.end; i += THREADS) {
        const Window w = window_of(p, i / p.y.width, i % p.y.width);
        float best = -INFINITE;
        for (int r = w.top; r < w.bottom; r++) {
            for (int c = w.left; c < w.right; c++) {
                if (beats(x[r * p.x.width + c], best)) best = x[r * p.x.width + c];
            }
        }
        y[i] = best;
    }
}

struct MaxPoolGradientParameters {
    // Of the forward pass; y is the gradient of its output.
    WindowParameters window;
    Tensor dx;
    int accumulate;
};

// Every input pixel takes the gradients of the windows whose first maximum it is.
KERNEL(max_pool_gradient, MaxPoolGradientParameters) {
    const WindowParameters &q = p.window;
    const Run run = run_of(p.dx, CHUNK);
    const float *x = plane_of(q.x, run.image, run.channel), *dy = plane_of(q.y, run.image, run.channel);
    float *dx = plane_of(p.dx, run.image, run.channel);
    for (int i = run.first + threadIdx.x; i < run.end; i += THREADS) {
        const int row = i / p.dx.width + q.padding_rows, column = i % p.dx.width + q.padding_columns;
        const int first_row = max(0, (row - q.kernel_rows + q.stride_rows) / q.stride_rows);
        const int first_column = max(0, (column - q.kernel_columns + q.stride_columns) / q.stride_columns);
        float sum = 0.0f;
        for (int a = first_row; a <= row / q.stride_rows && a < q.y.height; a++) {
            for (int b = first_column; b <= column / q.stride_columns && b < q.y.width; b++) {
                const Window w = window_of(q, a, b);
                float best = -INFINITE;
                int at = w.top * q.x.width + w.left;
                for (int r = w.top; r < w.bottom; r++) {
                    for (int c = w.left; c < w.right; c++) {
                        if (beats(x[r * q.x.width + c], best)) {
                            at = r * q.x.width + c;
                            best = x[at];
                        }
                    }
                }
                if (at == i) sum += dy[a * q.y.width + b];
            }
        }
        put(dx + i, sum, p.accumulate);
    }
}

struct SeparableParameters {
    Tensor x;
    Tensor y;
    // For every output row where its inputs begin and, behind the last, where they end; the inputs; the same for columns.
    const int *row_starts;
    const int *row_inputs;
    const float *row_weights;
    const int *column_starts;
    const int *column_inputs;
    const float *column_weights;
    int accumulate;
};

KERNEL(separable, SeparableParameters) {
    const Run run = run_of(p.y, CHUNK);
    const float *x = plane_of(p.x, run.image, run.channel);
    float *y = plane_of(p.y, run.image, run.channel);
    for (int i = run.first + threadIdx.x; i < run.end; i += THREADS) {
        const int row = i / p.y.width, column = i % p.y.width;
        float sum = 0.0f;
        for (int r = p.row_starts[row]; r < p.row_starts[row + 1]; r++) {
            const float *from = x + (long long)p.row_inputs[r] * p.x.width;
            float line = 0.0f;
            for (int c = p.column_starts[column]; c < p.column_starts[column + 1]; c++) {
                line += p.column_weights[c] * from[p.column_inputs[c]];
            }
            sum += p.row_weights[r] * line;
        }
        put(y + i, sum, p.accumulate);
    }
}
